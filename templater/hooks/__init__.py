"""templater called by a runtime when a container starts: one file a runtime."""

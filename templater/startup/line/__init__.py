"""The folder at which the search path of a hook's line begins, so that its first module is found at once."""

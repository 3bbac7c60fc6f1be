"""Format a plan as text, as a patch, or as JSON.

May import: model, prediction, rendering.
"""

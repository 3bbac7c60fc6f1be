"""Formats for plans, comparisons of plans and explanations: text, patches and JSON.

May import: instances, model, prediction, rendering.
"""

"""Formats for plans: text, patches and JSON.

May import: model, prediction, rendering.
"""

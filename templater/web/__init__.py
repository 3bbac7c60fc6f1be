"""Web pages about plans and findings. Texts from images and instances are escaped in one place.

May import: checks, model, pongo2, rendering, reporting.
"""

"""Plans and findings as web pages: values → HTML. The texts of images and instances are escaped in one place.

May import: checks, model, rendering, reporting.
"""

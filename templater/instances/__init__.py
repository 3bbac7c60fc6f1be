"""Modules that read instance directories and descriptions, and that read and write templater's state.

May import: model, oslite, parsing, rootfs.
"""

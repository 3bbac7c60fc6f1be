"""Readers of instance directories and descriptions, and templater's state in an instance directory.

May import: model, oslite, parsing, rootfs.
"""

"""Images: read, describe, edit, build, export, unpack and publish them.

May import: model, oslite, parsing, planning, rootfs, sandbox, writing.
"""

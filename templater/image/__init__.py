"""Images: read, describe, edit, build, export, unpack and publish them.

May import: instances, model, parsing, planning, rootfs, sandbox.
"""

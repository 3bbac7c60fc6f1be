"""A plan to files: all of them, or none.

`transaction` stages and commits, `staged_file` replaces one file, `recovery` cleans up after a killed run,
`lock` admits one writer at a time, and `folder` writes the files to a new folder.

May import: model, oslite, rootfs.
"""

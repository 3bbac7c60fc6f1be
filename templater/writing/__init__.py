"""A plan to files: all of them, or none.

`transaction` stages and commits, `staged_file` replaces one file, `recovery` cleans up after a killed run,
`lock`
admits one writer at a time.

May import: image, model, oslite, rootfs.
"""

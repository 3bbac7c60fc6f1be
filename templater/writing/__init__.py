"""Functions that apply a plan: they write all of its files, or none.

A "run", or an "apply", is one call of the function ``apply``.

* `apply_plan` checks a plan and takes the lock.
* `transaction` stages and commits.
* `staged_file` replaces one file.
* `target_directories` opens and makes the directories of the files.
* `remove_leftovers` cleans up after a killed run.
* `apply_locks` allows one writer at a time.
* `new_folder` writes the files to a new folder.

May import: model, oslite, rootfs.
"""

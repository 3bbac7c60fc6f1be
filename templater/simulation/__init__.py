"""A simulation of instance lifecycles: which files each step would change.

::

    steps                parse the steps that a user types
    run_steps            run each step on the simulated instances
    life                 what create, start, copy, rename, rebuild, restore and publish do to an instance
    simulated_instance   one instance: description, files, pending trigger, snapshots
    host_start           a model of a start on the chosen host
    start_result         the files, remarks and errors of a start
    host_refusals        images that the chosen host refuses
    disk_snapshot        a copy of a root filesystem in memory
    report               the report of a step, as text and as JSON

May import: model, parsing, planning, prediction, rendering, reporting, rootfs.
"""

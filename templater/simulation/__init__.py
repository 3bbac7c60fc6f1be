"""A simulation of instance lifecycles: which files each step would change.

* `parse_steps` parses the steps that a user types, and `run_steps` runs the steps.
* `instance_actions` defines how a step such as start or copy changes an instance.
* `simulated_instance` defines one instance and the changes of its pending trigger.
* `host_results` simulates a start on the chosen host: written files, remarks and errors.
* `writable_copy` copies a root filesystem into memory.
* `step_report` formats the result of a step as text and as JSON.

May import: model, parsing, planning, prediction, rendering, reporting, rootfs.
"""

"""Tests of an image, which `templater test` runs. The folder `tests` beside the image contains the cases.

* `tests_folder` reads and writes the folder.
* `read_tests` parses test files into the classes of `case`.
* `read_yaml_by_schema` reads YAML by a JSON Schema.
* `render_case` renders a case, and `compare_with_expectations` compares the files.
* `coverage` finds the parts of the templates that no case reaches.
* `run_tests` runs everything, and `reports` formats the results.

May import: checks, definitions, limit_option, model, parsing, planning, pongo2, rendering,
reporting, rootfs, simulation, sources, validators.
"""

"""Support for a SRC that is a definition of distrobuilder or lxd-imagebuilder.

* `definition_yaml` reads a definition as strictly as these programs do.
* `predicted_image` predicts the metadata.yaml and the templates of one build.
* `generators` predicts the effects of each entry of `files`.
* `text_origins` maps positions in generated texts to the definition.
* `all_builds` lists the builds: one for each combination of the values in the filters.

May import: image, model, parsing, planning, pongo2, rootfs.
"""

"""Definitions of distrobuilder and lxd-imagebuilder as SRC.

A definition is a YAML file from which these programs build images. `definition_yaml` reads a definition as
strictly as these programs do. `build` predicts the metadata.yaml and the templates of one build, and
`generators` the parts that each entry of `files` contributes. `variants` lists the builds that a definition's
filters distinguish.

May import: image, model, parsing, planning, pongo2, rootfs.
"""

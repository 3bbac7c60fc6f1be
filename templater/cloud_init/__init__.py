"""Predictions of cloud-init's next boot in a guest, with the files that templates write.

`seed` represents the files that cloud-init reads. `guest` represents the facts about the guest. `next_boot`
contains the rules. docs/cloud-init.md lists the rules with their sources. Tests compare the rules with
recorded boots of Debian's cloud-init.

May import: model, parsing.
"""

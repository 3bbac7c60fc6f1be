"""Predictions of what cloud-init in a guest does at the next boot with the files that templates write.

`seed` has the files that cloud-init reads, `guest` the facts about the guest, and `verdict` the rules.
docs/cloud-init.md lists the rules with their sources. Recorded boots of Debian's cloud-init check them.

May import: model, parsing.
"""

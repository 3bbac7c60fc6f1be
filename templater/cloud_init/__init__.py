"""Predictions of cloud-init's next boot in a guest, with the files that templates write.

* `seed`: the files that cloud-init reads.
* `guest`: the facts about the guest.
* `next_boot`: the rules. docs/cloud-init.md lists their sources.

May import: model, parsing.
"""

"""The next start of a live instance: its effect on each file.

* `verdicts` simulates the start as the daemon's release would run it, and judges each rule's file.
* `verdict_output` formats verdicts as sentences, table, patch and JSON.
* `client_commands` returns commands that make a file match the configuration.
* `judge_many` judges several instances.

May import: image, live, model, parsing, planning, reporting, simulation.
"""

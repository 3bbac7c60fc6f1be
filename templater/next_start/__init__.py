"""The next start of a live instance: its effect on each file.

* `verdicts` simulates the start as the daemon's release would run it, and judges the file of every rule.
* `verdict_output` formats verdicts as sentences, as lines of a table, as a patch and as JSON.
* `client_commands` returns commands with which the user can make a file match the configuration.
* `judge_many` judges several instances.

May import: image, live, model, parsing, planning, reporting, simulation.
"""

"""The next start of a live instance: its effect on each file, and the commands that change a file.

`verdicts` simulates the start as the daemon's release would run it, and judges the file of every rule.
`verdict_output` formats verdicts as sentences, as lines of a table, as a patch and as JSON. `client_commands`
returns the commands for users. `judge_many` reads several instances at once.

May import: image, live, model, parsing, planning, reporting, simulation.
"""

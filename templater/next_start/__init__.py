"""The next start of a live instance: its effect on each file, and the commands that change a file.

`verdicts` simulates the start on the daemon's host and compares every rule's file. `verdict_output` has the
sentences and the lines of a table, and formats verdicts as a patch and as JSON. `client_commands` has the
commands for users. `judge_many` reads several instances at once.

May import: image, live, model, parsing, planning, reporting, simulation.
"""

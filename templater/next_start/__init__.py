"""The next start of a live instance: its effect on each file, and the commands that change a file.

`verdicts` simulates the start on the daemon's host and compares every rule's file. `verdict_output`
has the sentences, the lines of a table and the commands for users, and formats verdicts as a patch and as
JSON. `judge_many` reads several instances at once.

May import: image, live, model, parsing, planning, reporting, simulation.
"""

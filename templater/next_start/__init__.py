"""The next start of a live instance: its effect on each file, and the commands that change a file.

`verdicts` simulates the start on the daemon's host and compares every rule's file. `sentences_and_commands`
has the sentences and commands for users, and `patch_and_json` formats them as text, as lines of a table and
as JSON. `judge_many` reads several instances at once.

May import: image, live, model, parsing, planning, reporting, simulation.
"""

"""Data types that every other folder uses: sources, errors, instances, metadata, plans, triggers, hosts.

The types only hold data. `unprintable_characters` escapes texts for a terminal. The modules of this folder
never read or write a file.

May import: nothing else of templater.
"""

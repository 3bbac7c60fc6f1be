"""Values that every other folder uses: sources, errors, instances, metadata, plans, lifecycle, hosts.

They hold data, take no decisions about files, and touch no file.

May import: nothing else of templater.
"""

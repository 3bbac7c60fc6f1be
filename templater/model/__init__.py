"""Data types that every other folder uses: sources, errors, instances, metadata, plans, lifecycle, hosts.

They only hold data. They decide nothing about files, and neither read nor write any.

May import: nothing else of templater.
"""

"""Traced renders, which record the names of the context on which each printed text depends.

`instrumented_template` makes a copy of a template that calls the functions of `recorder`. `recorder` stores
the names that each text has used. Normal renders load neither of these modules.
"""

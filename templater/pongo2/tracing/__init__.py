"""Traced renders: for each printed text, they record the context variables on which the text depends.

`instrumented_template` makes a copy of a template. While the copy renders, it calls functions of `recorder`.
For each text, these functions store the names of the variables that the text depends on. Renders without
tracing load neither of these two modules.
"""

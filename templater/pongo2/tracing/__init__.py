"""Traced renders: for each printed text, they record the context variables on which the text depends.

`instrumented_template` makes a copy of a template. The copy calls functions of `recorder`, which store the
names of the variables. Renders without tracing load neither module.
"""

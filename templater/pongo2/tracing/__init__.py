"""Traced renders: for each printed text, they record the context variables on which the text depends.

`instrumented_template` makes a copy of a template. This copy calls the functions of `recorder`, which store
the names of the variables that each text has used. Normal renders load neither of these modules.
"""

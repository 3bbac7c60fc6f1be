"""The code generator: it turns the parsed tree into Python code, with the help of Jinja2.

`compiler` runs two steps. `jinja2_nodes` turns the tree into Jinja2's nodes. Then `python_of_expressions` and
`python_of_statements`, which share a base class in `generator_state`, write the Python code.
"""

"""The code generator: it turns the parsed tree into Python code, with the help of Jinja2.

`jinja2_nodes` turns the tree into Jinja2's nodes. `python_of_expressions` and `python_of_statements` write
the Python code of nodes; their base class is in `generator_state`. `compiler` runs these steps in turn.
"""

"""The code generator: it turns the parsed tree into Python code, with the help of Jinja2.

`compiler` runs these modules in two steps. First, `jinja2_nodes` turns the tree into Jinja2's nodes. Then
`python_of_expressions` and `python_of_statements` write the Python code of the nodes. The base class of both
writers is in `generator_state`.
"""

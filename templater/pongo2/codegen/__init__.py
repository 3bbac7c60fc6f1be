"""The code generator: it turns the parsed tree into Python code, with the help of Jinja2."""

"""The tree to Python code, through Jinja2's code generator."""

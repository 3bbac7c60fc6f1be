"""The fast start of a hook: few imports, loaded from one file.

The path of `line/templater_hook.py` must not change, because installed hook lines run this file.
`bundle` lists every module that a warm hook can load. `lazy_imports` postpones modules that are rarely
needed.

May import: hooks.
"""

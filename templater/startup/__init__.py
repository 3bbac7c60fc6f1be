"""The fast start of a hook: few imports, loaded from one file.

An installed hook line runs `line/templater_hook.py`, so that path must not change. `bundle` lists every
module that a warm hook can load. `lazy_imports` postpones modules that are rarely needed.

May import: hooks.
"""

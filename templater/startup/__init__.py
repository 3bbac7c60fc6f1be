"""Why a hook starts in milliseconds: few imports, out of one file.

`line/templater_hook.py` is what an installed hook line runs; its path must not change. `bundle` lists every
module that a warm hook may load, `lazy_imports` postpones what is rarely needed.

May import: hooks.
"""

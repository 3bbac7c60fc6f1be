"""The first directory on the search path of a hook, so that Python finds the entry module at once."""

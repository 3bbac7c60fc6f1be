"""The first directory in a hook line's search path, so that Python finds the entry module at once."""

"""The directory that a hook line searches first, so that Python finds the entry module at once."""

"""The tags, one a file. A tag's parser is marked with ``@tag``; what it needs at run time stands beside it."""

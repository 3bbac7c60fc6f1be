"""The modules that parse template text into a tree, and that give hints for mistakes in the text."""

"""Parsing of template text into a tree, and hints for mistakes in the text."""

"""Parsers for YAML, metadata.yaml, instance descriptions and file kinds.

A parser takes bytes or text. The parser returns values, or raises an error with a source position. Parsers
never open files.

May import: model.
"""

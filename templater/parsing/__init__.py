"""Text to values: YAML nodes with their places, metadata.yaml, instance descriptions, file kinds.

Parsers take bytes or text and return values or raise an error with a place. They open no file.

May import: model.
"""

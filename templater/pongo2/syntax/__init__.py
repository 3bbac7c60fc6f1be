"""Template text to a tree: tokens, lexer, expression grammar, parser, and hints for mistakes."""

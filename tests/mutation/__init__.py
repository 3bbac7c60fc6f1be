"""Mutation testing: ``python -m tests.mutation`` changes the program at random. A test should then fail."""

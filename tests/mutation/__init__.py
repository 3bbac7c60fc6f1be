"""``python -m tests.mutation``: random changes of the program that some test should notice."""

"""Mutation testing of the mathematics: which small changes of the code no test sees."""

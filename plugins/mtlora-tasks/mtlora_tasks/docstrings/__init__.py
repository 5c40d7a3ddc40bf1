"""Eight small tasks over the docstrings of the running Python's standard library."""

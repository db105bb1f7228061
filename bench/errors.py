"""What can go wrong in a benchmark."""


class BenchError(Exception):
    """Something under test, or a tool, did not do what was asked; the text says what and where to look."""

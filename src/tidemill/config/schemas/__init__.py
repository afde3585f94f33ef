"""A type as JSON Schema, described by its docstrings."""

"""What a worker enters before its first record and leaves at its end: steps that are managers, and resources."""

"""Models asked by themselves, outside jobs."""

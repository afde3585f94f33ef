"""The code interpreter: Python that a model wrote, run in a process of its own."""

"""Models that run in this process, with PyTorch: what runs them, what makes vectors of texts, and their weights."""

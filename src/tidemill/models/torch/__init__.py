"""Models that run in this process, with PyTorch: loading them, and making vectors of texts."""

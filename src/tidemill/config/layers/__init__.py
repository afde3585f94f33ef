"""Several sources of values laid over each other, each value with its origin."""

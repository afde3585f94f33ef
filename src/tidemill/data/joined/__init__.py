"""Several streams as one source."""

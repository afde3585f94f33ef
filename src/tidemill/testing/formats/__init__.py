"""The wire formats a fault server answers in."""

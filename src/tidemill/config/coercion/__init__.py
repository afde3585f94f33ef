"""What values become, and what is refused: the rules of `Config` for any type."""

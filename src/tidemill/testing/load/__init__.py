"""What a fault server can carry, and how it behaves beyond that."""

"""What a type expects at each key path."""

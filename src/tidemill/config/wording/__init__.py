"""Types, rules and values in words."""

"""A configuration as something else: plain data, YAML that says what it means, a dataclass."""

"""What providers hold a reply to: the part of JSON Schema that each takes, found out offline."""

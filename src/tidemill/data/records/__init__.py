"""A record: its columns and keys, the lines and JSON it is written as, and where it came from."""

"""The text of a configuration, as nodes that know where they stand."""

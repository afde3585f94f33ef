"""Archives: members as records."""

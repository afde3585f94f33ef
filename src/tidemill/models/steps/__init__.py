"""The steps that make calls."""

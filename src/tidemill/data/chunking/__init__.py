"""Texts cut into chunks of at most a size, each with the place where it stands."""

"""Pages as a reader sees them: HTML in whatever encoding it came."""

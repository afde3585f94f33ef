"""Pages for readers: HTML and PDF."""

"""Tools that come along: search, files, databases, the web."""

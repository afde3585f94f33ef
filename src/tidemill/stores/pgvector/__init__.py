"""Vectors in a table of PostgreSQL, by its extension pgvector."""

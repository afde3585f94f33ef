"""Rows of databases: connections, the text of queries, and what goes through a cursor."""

"""Vectors in a collection of Qdrant: a server by its REST API, or its local mode in this process."""

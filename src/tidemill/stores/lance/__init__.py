"""LanceDB: vectors in a folder, in this process."""

"""NumPy's arrays: files of them as records, rows as views of the file."""

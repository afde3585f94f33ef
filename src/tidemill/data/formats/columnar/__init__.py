"""Files in columns: Parquet and Arrow."""

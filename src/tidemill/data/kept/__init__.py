"""What steps keep on disk: records, keys and groups that are more than memory holds."""

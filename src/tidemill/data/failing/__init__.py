"""What becomes of the records that fail: typed errors, raised or passed over, quarantined and read again."""

"""A model of this process over records: batches gathered, brought to its devices, computed, and taken apart again."""

"""Records by their number: what a dataset is over."""

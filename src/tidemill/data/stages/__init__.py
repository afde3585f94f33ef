"""The iterators behind the steps of a source half, one module for each way to go through records."""

"""Streams and datasets as other libraries know theirs: PyTorch, Hugging Face, grain, Arrow, pandas, polars."""

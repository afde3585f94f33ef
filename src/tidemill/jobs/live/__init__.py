"""Pipelines without a run: plain iteration, one record at a time, and trials; nothing is durable."""

"""Structured replies: what a model is asked to follow, and what becomes of what it wrote."""

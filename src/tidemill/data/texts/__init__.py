"""Texts as tokens and as signatures."""

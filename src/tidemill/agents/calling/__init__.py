"""Calling tools: within their limits, in order, and once where that is promised."""

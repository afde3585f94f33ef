"""Agents: tools, checked calls of them, and the loop that goes on until there is an answer."""

"""The record half: many records at a time through their steps, delivered in source order."""

"""Sections whose class a key names: tagged unions and plug-ins."""

"""Opening a run: whose folders these are, what is done already, and where to go on."""

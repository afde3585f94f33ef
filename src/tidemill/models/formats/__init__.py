"""The wire formats: how a question is asked, and what its answer says."""

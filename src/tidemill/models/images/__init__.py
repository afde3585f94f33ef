"""Images in questions: what they are, how large, and how many tokens."""

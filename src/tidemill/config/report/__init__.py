"""What is wrong, in words: every error at once, with its place and its mend."""

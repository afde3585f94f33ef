"""State of models and of the process that a block changes and puts back."""

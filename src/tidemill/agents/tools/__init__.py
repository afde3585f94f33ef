"""What a tool is: its description, its arguments and how they are checked."""

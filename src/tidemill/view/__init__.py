"""What people are shown in a terminal."""

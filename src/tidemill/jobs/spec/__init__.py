"""What a job is: its description, the file it is written in, and all that is checked before it runs."""

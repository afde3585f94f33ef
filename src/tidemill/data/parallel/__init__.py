"""Workers that call a user's function for several records at once: threads, a loop's tasks, processes."""

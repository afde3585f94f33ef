"""What is made of several records: batches, packs, and what a group comes to."""

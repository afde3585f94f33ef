"""What inference costs: time on host and device, memory, and what a block changed and put back."""

"""When an attempt may go: what the limits allow, and what the far side is found to take."""

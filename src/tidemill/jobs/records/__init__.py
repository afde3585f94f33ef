"""What both halves of a job pass on: records read together, their steps, sizes, outcomes and counts."""

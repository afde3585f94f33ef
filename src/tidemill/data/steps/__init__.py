"""What steps do: the functions behind the nodes, and what these are called with."""

"""A configuration at hand: what it holds, whether it equals another, what it is with other values."""

"""Where vectors are kept: what every store checks alike, and the stores that come along."""

"""How long the parts of a program take, by name: latency blocks, where they are counted, and the histogram of both."""

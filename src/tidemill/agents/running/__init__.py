"""One run of an agent: turns of its model and its tools, until there is an answer or a limit."""

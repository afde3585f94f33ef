"""Tools of MCP servers: over a process's pipes or streamable HTTP, by the official `mcp` package."""

"""Operations of HTTP APIs as tools: an OpenAPI document read, its arguments sent, its answers told."""

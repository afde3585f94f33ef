"""The steps that use a vector store: `index` puts records into one, `search` finds those near a vector."""

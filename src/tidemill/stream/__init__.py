"""The fluent faces of a pipeline over a source: their methods only append nodes."""

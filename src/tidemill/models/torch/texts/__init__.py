"""Vectors of texts by a model of this process: found, loaded, tokenised, pooled."""

"""Landing: what the window delivered, sealed into segments that stand."""

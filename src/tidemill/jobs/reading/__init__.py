"""The source half: records read part by part with exact positions, or once more out of quarantine."""

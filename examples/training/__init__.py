"""The parts of `examples/train.py`: its configuration, data, model, checkpoint, log and loop."""

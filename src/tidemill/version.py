"""The version, read by the build and by `tidemill --version`."""

__version__ = "0.1.0"

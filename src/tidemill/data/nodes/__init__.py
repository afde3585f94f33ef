"""The frozen descriptions of steps: what a chain, a `Pipeline` and a job file all hold."""

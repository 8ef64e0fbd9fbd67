"""What operators ask of a running app or worker: whether it is ready, and its figures."""

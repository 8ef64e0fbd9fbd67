"""Jobs from their post to their end: their state, polling, the socket and telemetry."""

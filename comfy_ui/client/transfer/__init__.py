"""Files at both ends of a transfer."""

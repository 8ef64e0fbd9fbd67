"""HTTP routes and WebSockets of the demo engine."""

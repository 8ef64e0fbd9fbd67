"""HTTP and WebSocket connections to a ComfyUI server."""

"""Middleware and routes in front of and beside Gradio."""

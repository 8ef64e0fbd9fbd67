"""Endpoints for programs and MCP."""

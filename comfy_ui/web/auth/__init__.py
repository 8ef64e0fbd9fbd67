"""Logins, roles, access rules and rate limits."""

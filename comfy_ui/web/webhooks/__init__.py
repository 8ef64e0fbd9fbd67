"""Webhooks: signed messages to addresses of users when their jobs end."""

"""PostgreSQL instead of SQLite ([scale]): migrations and stores."""

"""The SQLite database: records, one module per table, quota and recovery."""

"""The tables of the database: schemas and queries."""

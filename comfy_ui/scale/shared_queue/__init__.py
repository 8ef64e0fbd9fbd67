"""The job queue that the processes of a PostgreSQL database share."""

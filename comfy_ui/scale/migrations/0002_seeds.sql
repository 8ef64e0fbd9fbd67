-- works with schema 1
CREATE INDEX jobs_seed ON jobs (seed);

-- works with schema 1
ALTER TABLE jobs ADD COLUMN key_id text;  -- the API key that the job was submitted with

-- works with schema 1
ALTER TABLE jobs ADD COLUMN may_spend boolean NOT NULL DEFAULT false;  -- whether it may run partner nodes

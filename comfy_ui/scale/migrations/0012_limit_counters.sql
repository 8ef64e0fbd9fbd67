-- works with schema 1
-- What rate limits count for all apps. Unlogged: a crash of the server forgets it.
CREATE UNLOGGED TABLE limit_counters (
    key text PRIMARY KEY,            -- a digest of whose counter it is
    state jsonb NOT NULL,            -- numbers by name
    used_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);            -- room for new versions of a row on its page

-- works with schema 1
-- The queue that several processes share: who may publish a job, and which rows have changed.

-- Transactions that change the order of jobs lock this row, one after the other.
CREATE TABLE queue_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    virtual_s double precision NOT NULL,    -- of start-time fair queuing
    finish_s text NOT NULL                  -- JSON: the finish tags of users who have a lead
);

CREATE SEQUENCE worker_tokens;
CREATE TABLE workers (
    name text PRIMARY KEY,
    token bigint NOT NULL,              -- fencing token: grows with each start of the worker
    seen_at double precision NOT NULL,  -- last heartbeat, by the clock of this database
    offer text,                         -- JSON: what its server offers; NULL: not announced yet
    nodes text,                         -- the node classes and models of its server
    status text,                        -- JSON: the last check of its server, for pages
    changed_in xid8 NOT NULL DEFAULT '0'
);
-- Apart, since servers that are set up alike have the same.
CREATE TABLE server_nodes (
    id text PRIMARY KEY,                -- SHA-256
    body text NOT NULL                  -- JSON: classes and models
);

ALTER TABLE jobs ADD COLUMN token bigint NOT NULL DEFAULT 0;    -- of the worker that may publish it
ALTER TABLE jobs ADD COLUMN withdraw boolean NOT NULL DEFAULT false;    -- its worker is to return it
ALTER TABLE jobs ADD COLUMN held_until double precision;        -- it is about to be replaced
ALTER TABLE jobs ADD COLUMN avoids text;                        -- the server that died under it
ALTER TABLE jobs ADD COLUMN changed_in xid8 NOT NULL DEFAULT '0';
CREATE INDEX jobs_changed_in ON jobs (changed_in);

-- Jobs that were replaced while they waited.
CREATE TABLE removed_jobs (
    id text PRIMARY KEY,
    removed_at timestamptz NOT NULL DEFAULT now(),
    changed_in xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX removed_jobs_changed_in ON removed_jobs (changed_in);

-- A group of jobs without a grid can be paused, too.
CREATE TABLE paused_groups (group_id text PRIMARY KEY);
INSERT INTO paused_groups SELECT id FROM grids WHERE paused;

-- The newest progress and preview of a running job. Lost in a crash of the server, like a preview.
CREATE UNLOGGED TABLE job_progress (
    job_id text PRIMARY KEY,
    report text NOT NULL,               -- JSON
    preview bytea,
    preview_type text,
    preview_number bigint NOT NULL DEFAULT 0,
    changed_in xid8 NOT NULL DEFAULT '0'
);

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END
$$;
CREATE TRIGGER job_changed BEFORE INSERT OR UPDATE ON jobs
    FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER worker_changed BEFORE INSERT OR UPDATE ON workers
    FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER progress_changed BEFORE INSERT OR UPDATE ON job_progress
    FOR EACH ROW EXECUTE FUNCTION note_change();

CREATE FUNCTION note_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO removed_jobs (id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER job_removed AFTER DELETE ON jobs FOR EACH ROW
    WHEN (OLD.status = 'waiting') EXECUTE FUNCTION note_removal();

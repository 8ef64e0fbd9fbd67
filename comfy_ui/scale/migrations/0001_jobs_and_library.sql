-- works with schema 1
-- Columns that are JSON are text: they are read as a whole, and a prompt may have a character that
-- PostgreSQL's JSON types refuse.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE jobs (
    id text PRIMARY KEY,
    user_id text NOT NULL,
    preset text NOT NULL,
    vals text NOT NULL,                 -- JSON: the requested values, with the concrete seed
    prompt text NOT NULL,
    seed text,                          -- decimal, up to 2**64 - 1
    graph text NOT NULL,                -- JSON: the graph that ComfyUI receives
    status text NOT NULL,
    rank double precision NOT NULL,     -- order of the user's waiting jobs, lowest first
    work double precision NOT NULL,     -- relative size
    cost_s double precision NOT NULL,   -- estimate
    start_tag double precision,         -- start-time fair queuing, set when the job is claimed
    finish_tag double precision,
    server text,
    prompt_id text UNIQUE,
    cancel_requested boolean NOT NULL DEFAULT false,
    server_deaths integer NOT NULL DEFAULT 0,
    created_at double precision NOT NULL,
    started_at double precision,
    finished_at double precision,
    outputs text,                       -- JSON: files and texts, once ComfyUI has finished
    has_texts boolean NOT NULL DEFAULT false,
    error text,                         -- JSON
    parent_id bigint,                   -- the result that the job works on
    webhook text                        -- JSON: the address that hears of the end, and ours
);
CREATE INDEX jobs_unfinished ON jobs (created_at)
    WHERE status IN ('waiting', 'claimed', 'sent', 'fetching', 'unfetched');
CREATE INDEX jobs_recent ON jobs (user_id, finished_at);
CREATE INDEX jobs_start_tag ON jobs (start_tag);
CREATE INDEX jobs_finish_tag ON jobs (finish_tag);
CREATE INDEX jobs_pace ON jobs (preset, finished_at) WHERE status = 'succeeded';
CREATE INDEX jobs_parent ON jobs (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE items (
    id bigint PRIMARY KEY,              -- microseconds of its creation, see items_table.py
    job_id text NOT NULL REFERENCES jobs (id),
    source text NOT NULL,               -- node, type, subfolder, filename at the server
    user_id text NOT NULL,
    kind text NOT NULL,
    filename text NOT NULL,
    media_type text NOT NULL,
    path text NOT NULL,                 -- relative to the data folder
    thumbnail text,
    width integer,
    height integer,
    size_bytes bigint NOT NULL,
    created_at double precision NOT NULL,
    preset text NOT NULL,
    starred boolean NOT NULL DEFAULT false,
    deleted_at double precision,        -- 0: deleted forever, and purged when the file is not young
    search text NOT NULL,               -- case-folded prompt, preset, models and file name
    UNIQUE (job_id, source)             -- a result that is downloaded twice is stored once
);
CREATE INDEX items_page ON items (user_id, id);
CREATE INDEX items_preset ON items (user_id, preset) WHERE deleted_at IS NULL;
CREATE INDEX items_search ON items USING gin (search gin_trgm_ops) WHERE deleted_at IS NULL;
CREATE INDEX items_path ON items (path);
CREATE INDEX items_deleted ON items (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE grids (
    id text PRIMARY KEY,
    user_id text NOT NULL,
    sides text NOT NULL,                -- JSON: the axes across and down, with labels
    jobs text NOT NULL,                 -- JSON: the ids of the cells, row by row
    created_at double precision NOT NULL,
    done boolean NOT NULL DEFAULT false -- its contact sheet is drawn, or cannot be
);
CREATE INDEX grids_unfinished ON grids (created_at) WHERE NOT done;

CREATE TABLE copies (
    prompt_id text PRIMARY KEY,
    job_id text NOT NULL,
    server text NOT NULL,
    there boolean NOT NULL              -- false: the server is known not to have it
);
CREATE INDEX copies_job ON copies (job_id);

CREATE TABLE pauses (
    user_id text PRIMARY KEY
);

CREATE TABLE durations (
    server text NOT NULL,
    class_type text NOT NULL,
    models text NOT NULL,
    megapixels double precision NOT NULL,
    steps double precision NOT NULL,
    cold boolean NOT NULL,
    measurements text NOT NULL,         -- JSON: [start_s, step_s] of the newest runs, oldest first
    learned_at double precision NOT NULL,
    PRIMARY KEY (server, class_type, models, megapixels, steps, cold)
);
CREATE INDEX durations_age ON durations (learned_at);

CREATE TABLE favorites (
    user_id text NOT NULL,
    folder text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (user_id, folder, name)
);

CREATE TABLE preset_defaults (
    user_id text NOT NULL,
    preset text NOT NULL,
    vals text NOT NULL,                 -- JSON: values by param id
    PRIMARY KEY (user_id, preset)
);

CREATE TABLE uploads (
    name text PRIMARY KEY,
    user_id text NOT NULL,
    size_bytes bigint NOT NULL,
    created_at double precision NOT NULL
);
CREATE INDEX uploads_age ON uploads (created_at);

-- One row of sums per user, kept by triggers.
CREATE TABLE storage_usage (
    user_id text PRIMARY KEY,
    kept_bytes bigint NOT NULL DEFAULT 0,
    deleted_bytes bigint NOT NULL DEFAULT 0,  -- results that can still be restored
    upload_bytes bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION add_usage(changed_user text, kept bigint, deleted bigint, uploaded bigint)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO storage_usage AS usage (user_id, kept_bytes, deleted_bytes, upload_bytes)
    VALUES (changed_user, kept, deleted, uploaded)
    ON CONFLICT (user_id) DO UPDATE SET
        kept_bytes = usage.kept_bytes + kept,
        deleted_bytes = usage.deleted_bytes + deleted,
        upload_bytes = usage.upload_bytes + uploaded;
$$;

CREATE FUNCTION add_item_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM add_usage(
            OLD.user_id,
            CASE WHEN OLD.deleted_at IS NULL THEN -OLD.size_bytes ELSE 0 END,
            CASE WHEN OLD.deleted_at IS NULL THEN 0 ELSE -OLD.size_bytes END,
            0
        );
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM add_usage(
            NEW.user_id,
            CASE WHEN NEW.deleted_at IS NULL THEN NEW.size_bytes ELSE 0 END,
            CASE WHEN NEW.deleted_at IS NULL THEN 0 ELSE NEW.size_bytes END,
            0
        );
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION add_upload_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM add_usage(NEW.user_id, 0, 0, NEW.size_bytes);
    ELSE
        PERFORM add_usage(OLD.user_id, 0, 0, -OLD.size_bytes);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER item_usage
    AFTER INSERT OR DELETE OR UPDATE OF user_id, size_bytes, deleted_at ON items
    FOR EACH ROW EXECUTE FUNCTION add_item_usage();
CREATE TRIGGER upload_usage
    AFTER INSERT OR DELETE ON uploads
    FOR EACH ROW EXECUTE FUNCTION add_upload_usage();

CREATE TABLE webhooks (
    user_id text PRIMARY KEY,
    url text NOT NULL,                  -- empty: none
    base text NOT NULL,                 -- the app's own address as the user sees it
    secret_version integer NOT NULL DEFAULT 1
);

CREATE TABLE webhook_deliveries (
    id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    user_id text NOT NULL,
    job_id text NOT NULL,               -- empty: a test
    event text NOT NULL,
    url text NOT NULL,
    base text NOT NULL,
    body text,                          -- as first sent
    attempts integer NOT NULL DEFAULT 0,
    created_at double precision NOT NULL,
    next_at double precision,           -- of the next attempt; NULL: none will follow
    sent_at double precision,           -- of the last attempt
    status integer,                     -- of the last answer
    error text                          -- of the last attempt; NULL: the receiver accepted it
);
CREATE INDEX deliveries_due ON webhook_deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_of_user ON webhook_deliveries (user_id, id);

-- The deliveries are added in the transaction that ends a job, so that none is lost.
CREATE FUNCTION add_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_deliveries (user_id, job_id, event, url, base, created_at, next_at)
    SELECT NEW.user_id, NEW.id, 'job.' || NEW.status, url, min(base),
        coalesce(NEW.finished_at, NEW.created_at), coalesce(NEW.finished_at, NEW.created_at)
    FROM (
        SELECT url, base FROM webhooks WHERE user_id = NEW.user_id
        UNION SELECT NEW.webhook::json ->> 'url', NEW.webhook::json ->> 'base'
    ) AS target
    WHERE url <> '' GROUP BY url;
    RETURN NULL;
END
$$;
CREATE TRIGGER job_ended AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'failed', 'cancelled', 'lost')
        AND OLD.status NOT IN ('succeeded', 'failed', 'cancelled', 'lost'))
    EXECUTE FUNCTION add_deliveries();

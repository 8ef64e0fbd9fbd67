-- works with schema 1
ALTER TABLE items ADD COLUMN group_id text;  -- of its job
UPDATE items SET group_id = jobs.group_id FROM jobs
WHERE jobs.id = job_id AND jobs.group_id IS NOT NULL;
CREATE INDEX items_group ON items (group_id, id) WHERE group_id IS NOT NULL AND deleted_at IS NULL;

-- The orders of the Library other than that of creation.
CREATE INDEX items_by_rating ON items (user_id, rating DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX items_by_largest ON items (user_id, size_bytes DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX items_by_preset ON items (user_id, preset COLLATE "C", id DESC) WHERE deleted_at IS NULL;
CREATE INDEX items_by_name ON items (user_id, lower(filename) COLLATE "C", id DESC)
    WHERE deleted_at IS NULL;

CREATE TABLE saved_searches (
    user_id text NOT NULL,
    name text NOT NULL,
    fields text NOT NULL,                -- JSON: the fields of the search form that are set
    saved_at double precision NOT NULL,
    PRIMARY KEY (user_id, name)
);

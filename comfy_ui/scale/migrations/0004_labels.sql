-- works with schema 1
ALTER TABLE items ADD COLUMN rating smallint NOT NULL DEFAULT 0;  -- 1 to 5 stars; 0: not rated

CREATE TABLE labels (
    user_id text NOT NULL,
    kind text NOT NULL,     -- tag or collection
    folded text NOT NULL,   -- the name in lower case, by which it is found
    name text NOT NULL,
    item_id bigint NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, kind, folded, item_id)
);
CREATE INDEX labels_item ON labels (item_id);

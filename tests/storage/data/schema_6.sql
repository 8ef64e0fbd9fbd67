-- A database as version 6 of the schema had it. Never change it: see test_upgrade.py.
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    preset TEXT NOT NULL,
    vals TEXT NOT NULL,             -- JSON: the values asked for, with the concrete seed
    prompt TEXT NOT NULL,
    seed TEXT,                      -- decimal: ComfyUI's go up to 2**64 - 1, SQLite's do not
    graph TEXT NOT NULL,            -- JSON: what ComfyUI gets
    status TEXT NOT NULL,
    rank REAL NOT NULL,             -- the owner's own order, lowest first
    work REAL NOT NULL,             -- relative size, see fair.work
    cost_s REAL NOT NULL,           -- estimate
    start_tag REAL,                 -- fair queuing, set when the job gets its turn
    finish_tag REAL,
    server TEXT,
    prompt_id TEXT UNIQUE,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    outputs TEXT,                   -- JSON: files and texts, once ComfyUI is done
    error TEXT                      -- JSON
);
CREATE INDEX jobs_unfinished ON jobs(status)
            WHERE status IN ('waiting', 'claimed', 'sent', 'fetching', 'unfetched');
CREATE INDEX jobs_recent ON jobs(owner, finished_at);
CREATE INDEX jobs_start_tag ON jobs(start_tag);
CREATE INDEX jobs_finish_tag ON jobs(finish_tag);
CREATE INDEX jobs_pace ON jobs(preset, finished_at) WHERE status = 'succeeded';
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL REFERENCES jobs(id),
    source TEXT NOT NULL,           -- node, type, subfolder, filename at the server
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    filename TEXT NOT NULL,
    media_type TEXT NOT NULL,
    path TEXT NOT NULL,             -- relative to the data folder, so that this can be moved
    thumbnail TEXT,
    width INTEGER,
    height INTEGER,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL,
    preset TEXT NOT NULL,
    starred INTEGER NOT NULL DEFAULT 0,
    deleted_at REAL,
    UNIQUE (job_id, source)         -- a result fetched twice is stored once
);
CREATE INDEX items_page ON items(owner, id, kind, preset, starred, created_at)
            WHERE deleted_at IS NULL;
CREATE VIRTUAL TABLE items_search USING fts5(body, tokenize = 'trigram');
CREATE INDEX items_path ON items(path);
CREATE INDEX items_deleted ON items(deleted_at) WHERE deleted_at IS NOT NULL;
INSERT INTO schema_version VALUES (1);
CREATE TABLE grids (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            sides TEXT NOT NULL,            -- JSON: what varies across and down, with labels
            jobs TEXT NOT NULL,             -- JSON: the ids of the cells, row by row
            created_at REAL NOT NULL,
            done INTEGER NOT NULL DEFAULT 0 -- its sheet is drawn, or cannot be
        );
CREATE INDEX grids_unfinished ON grids(created_at) WHERE done = 0;
INSERT INTO schema_version VALUES (2);
CREATE TABLE copies (
            prompt_id TEXT PRIMARY KEY,
            job_id TEXT NOT NULL,
            server TEXT NOT NULL,
            there INTEGER NOT NULL          -- 0: the server is known not to have it
        );
CREATE INDEX copies_job ON copies(job_id);
INSERT INTO schema_version VALUES (3);
CREATE INDEX IF NOT EXISTS items_size ON items(owner, size_bytes)
            WHERE deleted_at IS NULL;
INSERT INTO schema_version VALUES (4);
CREATE INDEX items_preset ON items(owner, preset) WHERE deleted_at IS NULL;
INSERT INTO schema_version VALUES (5);
CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE space (
    owner TEXT PRIMARY KEY,
    kept_bytes INTEGER NOT NULL DEFAULT 0,
    deleted_bytes INTEGER NOT NULL DEFAULT 0,   -- results that can still be restored
    sent_bytes INTEGER NOT NULL DEFAULT 0
);
INSERT INTO space (owner, kept_bytes, deleted_bytes)
    SELECT owner, sum(iif(deleted_at IS NULL, size_bytes, 0)),
        sum(iif(deleted_at IS NULL, 0, size_bytes)) FROM items GROUP BY owner;
CREATE TRIGGER space_item_in AFTER INSERT ON items BEGIN INSERT OR IGNORE INTO space (owner) VALUES (NEW.owner); UPDATE space SET kept_bytes = kept_bytes + iif(NEW.deleted_at IS NULL, NEW.size_bytes, 0), deleted_bytes = deleted_bytes + iif(NEW.deleted_at IS NULL, 0, NEW.size_bytes) WHERE owner = NEW.owner; END;
CREATE TRIGGER space_item_out AFTER DELETE ON items BEGIN INSERT OR IGNORE INTO space (owner) VALUES (OLD.owner); UPDATE space SET kept_bytes = kept_bytes - iif(OLD.deleted_at IS NULL, OLD.size_bytes, 0), deleted_bytes = deleted_bytes - iif(OLD.deleted_at IS NULL, 0, OLD.size_bytes) WHERE owner = OLD.owner; END;
CREATE TRIGGER space_item_changed AFTER UPDATE OF owner, size_bytes, deleted_at ON items BEGIN INSERT OR IGNORE INTO space (owner) VALUES (OLD.owner); UPDATE space SET kept_bytes = kept_bytes - iif(OLD.deleted_at IS NULL, OLD.size_bytes, 0), deleted_bytes = deleted_bytes - iif(OLD.deleted_at IS NULL, 0, OLD.size_bytes) WHERE owner = OLD.owner; INSERT OR IGNORE INTO space (owner) VALUES (NEW.owner); UPDATE space SET kept_bytes = kept_bytes + iif(NEW.deleted_at IS NULL, NEW.size_bytes, 0), deleted_bytes = deleted_bytes + iif(NEW.deleted_at IS NULL, 0, NEW.size_bytes) WHERE owner = NEW.owner; END;
CREATE TRIGGER space_upload_in AFTER INSERT ON uploads BEGIN INSERT OR IGNORE INTO space (owner) VALUES (NEW.owner); UPDATE space SET sent_bytes = sent_bytes + NEW.size_bytes WHERE owner = NEW.owner; END;
CREATE TRIGGER space_upload_out AFTER DELETE ON uploads BEGIN INSERT OR IGNORE INTO space (owner) VALUES (OLD.owner); UPDATE space SET sent_bytes = sent_bytes - OLD.size_bytes WHERE owner = OLD.owner; END;
DROP INDEX IF EXISTS items_size;
INSERT INTO schema_version VALUES (6);
INSERT INTO jobs (id, owner, preset, vals, prompt, seed, graph, status, rank, work, cost_s, created_at, server, prompt_id, started_at, finished_at, start_tag, finish_tag, outputs) VALUES ('00000000-0000-4000-8000-000000000001', 'ann', 'sdxl', '{"prompt": "a red fox''s den", "seed": 18446744073709551615, "steps": 20}', 'a red fox''s den', '18446744073709551615', '{"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}}, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}', 'succeeded', 1.0, 20.0, 4.0, 1760000001.0, 'main', '10000000-0000-4000-8000-000000000001', 1760000002.0, 1760000009.0, 0.0, 4.0, '{"files": [{"filename": "x_00001_.png", "subfolder": "", "type": "output", "node": "2", "kind": "image"}], "texts": ["said"]}');
INSERT INTO jobs (id, owner, preset, vals, prompt, seed, graph, status, rank, work, cost_s, created_at, server, prompt_id, started_at, finished_at, error) VALUES ('00000000-0000-4000-8000-000000000002', 'bob', 'sdxl', '{"prompt": "ein blauer Wal", "seed": 7, "steps": 20}', 'ein blauer Wal', '7', '{"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}}, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}', 'failed', 2.0, 20.0, 4.0, 1760000002.0, 'main', '10000000-0000-4000-8000-000000000002', 1760000012.0, 1760000019.0, '{"message": "Out of memory.", "hint": "Make it smaller.", "details": "", "kind": "OutOfMemoryError"}');
INSERT INTO jobs (id, owner, preset, vals, prompt, seed, graph, status, rank, work, cost_s, created_at) VALUES ('00000000-0000-4000-8000-000000000003', 'ann', 'sdxl', '{"prompt": "a quiet harbour", "seed": 3, "steps": 20}', 'a quiet harbour', '3', '{"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}}, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}', 'waiting', 3.0, 20.0, 4.0, 1760000003.0);
INSERT INTO jobs (id, owner, preset, vals, prompt, seed, graph, status, rank, work, cost_s, created_at, server, prompt_id, start_tag, finish_tag) VALUES ('00000000-0000-4000-8000-000000000004', 'ann', 'sdxl', '{"prompt": "a kite", "seed": 4, "steps": 20}', 'a kite', '4', '{"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}}, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}', 'sent', 4.0, 20.0, 4.0, 1760000004.0, 'main', '10000000-0000-4000-8000-000000000004', 4.0, 8.0);
INSERT INTO items (id, job_id, source, owner, kind, filename, media_type, path, thumbnail, width, height, size_bytes, created_at, preset, starred, deleted_at) VALUES (1, '00000000-0000-4000-8000-000000000001', '2/output//x_00001_.png', 'ann', 'image', 'x_00001_.png', 'image/png', 'files/ab/ab00000000000000000000000000000000000000000000000000000000000000.png', NULL, 1024, 768, 1001, 1760000009.0, 'sdxl', 1, NULL);
INSERT INTO items_search (rowid, body) VALUES (1, 'a red fox''s den
sdxl
dream.safetensors
x_00001_.png');
INSERT INTO items (id, job_id, source, owner, kind, filename, media_type, path, thumbnail, width, height, size_bytes, created_at, preset, starred, deleted_at) VALUES (2, '00000000-0000-4000-8000-000000000001', '2/output//x_00002_.png', 'ann', 'image', 'x_00002_.png', 'image/png', 'files/ab/ab00000000000000000000000000000000000000000000000000000000000000.png', NULL, 1024, 768, 1002, 1760000009.0, 'sdxl', 0, NULL);
INSERT INTO items_search (rowid, body) VALUES (2, 'a red fox''s den
sdxl
dream.safetensors
x_00002_.png');
INSERT INTO items (id, job_id, source, owner, kind, filename, media_type, path, thumbnail, width, height, size_bytes, created_at, preset, starred, deleted_at) VALUES (3, '00000000-0000-4000-8000-000000000001', '2/output//x_00003_.png', 'ann', 'image', 'x_00003_.png', 'image/png', 'files/ab/ab00000000000000000000000000000000000000000000000000000000000000.png', NULL, 1024, 768, 1003, 1760000009.0, 'sdxl', 0, 1760000500.0);
INSERT INTO items_search (rowid, body) VALUES (3, 'a red fox''s den
sdxl
dream.safetensors
x_00003_.png');
INSERT INTO grids (id, owner, sides, jobs, created_at) VALUES ('g1', 'ann', '[{"label": "Steps", "labels": ["10", "20"]}, null]', '["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000003"]', 1760000001.0);
INSERT INTO copies (prompt_id, job_id, server, there) VALUES ('10000000-0000-4000-8000-00000000000c', '00000000-0000-4000-8000-000000000004', '0123456789ab', 1);
INSERT INTO uploads (name, owner, size_bytes, created_at) VALUES ('ui-0a-4x4-9f.png', 'ann', 77, 1760000000.0);

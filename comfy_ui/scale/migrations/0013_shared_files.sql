-- works with schema 1
-- Presets, styles and wildcards of the data folders of all apps.
CREATE TABLE shared_files (
    path text PRIMARY KEY,           -- below the data folder
    content bytea,                   -- NULL: deleted
    digest text NOT NULL,            -- SHA-256 of the content; empty if deleted
    version bigint NOT NULL          -- grows with each change of any file
);
CREATE INDEX shared_files_by_version ON shared_files (version);

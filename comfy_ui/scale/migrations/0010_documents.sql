-- works with schema 1
CREATE TABLE documents (
    name text PRIMARY KEY,
    content bytea NOT NULL,
    version bigint NOT NULL   -- grows with each change of any document
);
CREATE INDEX documents_by_version ON documents (version);

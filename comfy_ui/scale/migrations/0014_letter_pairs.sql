-- works with schema 1
-- A word of one or two letters has no trigram, so it is searched by pairs of letters. COST: to
-- compute the pairs of a row takes far longer than to look for the word in its text.
CREATE FUNCTION letter_pairs(body text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
    SELECT coalesce(array_to_tsvector(array_agg(DISTINCT first || coalesce(second, ''))), '')
    FROM unnest(string_to_array(body, NULL), (string_to_array(body, NULL))[2:])
        AS pair (first, second)
    WHERE first > ' '
$$;
-- Not partial: PostgreSQL uses the statistics of whole indexes only.
CREATE INDEX items_letter_pairs ON items USING gin (letter_pairs(search));

-- Storage is summed once for each statement, not for each row: a row of storage_usage that one
-- transaction changes 100,000 times has as many dead versions, which each change looks at.
CREATE FUNCTION sum_item_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM add_usage(user_id,
            coalesce(sum(size_bytes) FILTER (WHERE deleted_at IS NULL), 0)::bigint,
            coalesce(sum(size_bytes) FILTER (WHERE deleted_at IS NOT NULL), 0)::bigint, 0)
        FROM new_items GROUP BY user_id ORDER BY user_id;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM add_usage(user_id,
            -coalesce(sum(size_bytes) FILTER (WHERE deleted_at IS NULL), 0)::bigint,
            -coalesce(sum(size_bytes) FILTER (WHERE deleted_at IS NOT NULL), 0)::bigint, 0)
        FROM old_items GROUP BY user_id ORDER BY user_id;
    ELSE
        PERFORM add_usage(user_id, kept, deleted, 0)
        FROM (
            SELECT user_id,
                coalesce(sum(change) FILTER (WHERE deleted_at IS NULL), 0)::bigint AS kept,
                coalesce(sum(change) FILTER (WHERE deleted_at IS NOT NULL), 0)::bigint AS deleted
            FROM (
                SELECT user_id, deleted_at, size_bytes AS change FROM new_items
                UNION ALL SELECT user_id, deleted_at, -size_bytes FROM old_items
            ) AS changes
            GROUP BY user_id
        ) AS sums
        WHERE kept <> 0 OR deleted <> 0 ORDER BY user_id;
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER item_usage ON items;
DROP FUNCTION add_item_usage;
CREATE TRIGGER items_added AFTER INSERT ON items REFERENCING NEW TABLE AS new_items
    FOR EACH STATEMENT EXECUTE FUNCTION sum_item_usage();
CREATE TRIGGER items_deleted AFTER DELETE ON items REFERENCING OLD TABLE AS old_items
    FOR EACH STATEMENT EXECUTE FUNCTION sum_item_usage();
CREATE TRIGGER items_changed AFTER UPDATE ON items
    REFERENCING OLD TABLE AS old_items NEW TABLE AS new_items
    FOR EACH STATEMENT EXECUTE FUNCTION sum_item_usage();

-- works with schema 1
-- The newest result of each group of a user is found in the index alone. items_group stays for
-- apps of the version before.
CREATE INDEX items_newest_of_group ON items (user_id, group_id, id)
    WHERE group_id IS NOT NULL AND deleted_at IS NULL;

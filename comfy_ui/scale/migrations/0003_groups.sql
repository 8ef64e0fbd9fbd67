-- works with schema 1
ALTER TABLE jobs ADD COLUMN group_id text;  -- the grid that the job, or the contact sheet, belongs to
CREATE INDEX jobs_group ON jobs (group_id, finished_at DESC) WHERE group_id IS NOT NULL;
ALTER TABLE grids ADD COLUMN paused boolean NOT NULL DEFAULT false;

UPDATE jobs SET group_id = grids.id
FROM grids, json_array_elements_text(grids.jobs::json) AS cell WHERE jobs.id = cell;
-- A contact sheet has the time of its grid, and never ran.
UPDATE jobs SET group_id = grids.id FROM grids
WHERE jobs.created_at = grids.created_at AND jobs.user_id = grids.user_id
    AND jobs.prompt_id IS NULL AND jobs.status = 'succeeded';

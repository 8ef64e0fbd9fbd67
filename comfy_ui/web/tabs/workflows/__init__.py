"""The Workflows tab: open a workflow, and edit the form that it becomes."""

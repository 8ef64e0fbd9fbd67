"""``comfy-ui``: one module per command group; :mod:`.main` parses the arguments."""

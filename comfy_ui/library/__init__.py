"""Results and uploads on disk: find, keep, import and delete them."""

"""What admins change on the page, for the apps and the workers of one database."""

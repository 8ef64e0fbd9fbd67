"""What admins set on the page: settings of the running app, and the servers."""

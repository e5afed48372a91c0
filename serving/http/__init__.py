"""metier over HTTP: the app, the runs that all doors share, and the routes. Needs the extra `serve`."""

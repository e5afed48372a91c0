"""Questions to a database: what the model is shown of it, the short SQL that it writes, and the SQL that runs."""

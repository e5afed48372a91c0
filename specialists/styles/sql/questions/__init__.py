"""Made-up questions about a database, with the SQL that answers them."""

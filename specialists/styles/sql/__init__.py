"""Style `sql`: one SELECT over the specialist's database."""

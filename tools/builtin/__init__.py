"""The tools that come with metier."""

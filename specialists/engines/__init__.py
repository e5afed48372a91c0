"""Engines: what runs a language model. `open_engine` is the door."""

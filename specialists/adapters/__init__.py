"""Adapters as folders: which one is in use, what the engine loads of it, versions and exchange. No torch."""

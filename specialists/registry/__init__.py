"""The registry: immutable versions of a specialist's adapter, and which of them is in use."""

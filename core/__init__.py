"""The words everybody shares: types, errors, settings, events, embedding, model files. Knows nobody above it."""

"""Training of adapters on an ordinary CPU (torch, extra `train`)."""

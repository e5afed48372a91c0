"""Training of adapters (torch, extra `train`) and their conversion for llama.cpp (base install)."""

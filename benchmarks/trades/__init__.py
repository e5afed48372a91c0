"""The trades of `benchmarks/specialists.py`: each knows its sets, what to learn from them, and how to score answers."""

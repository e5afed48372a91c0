"""The unit of the framework: card, engines, knowledge, answer styles."""

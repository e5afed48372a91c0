"""Evaluation: how good a specialist is on questions that it never learnt from, and whether a new one is better."""

"""Typed functions with permissions, and the policy that decides what may run."""

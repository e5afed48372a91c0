"""Workflows: plans of typed steps, checked before anything runs, and executed on one LangGraph graph."""

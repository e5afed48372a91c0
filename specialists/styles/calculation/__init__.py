"""Amounts that follow from quoted figures: what is asked, the figures of passages, and the sum."""

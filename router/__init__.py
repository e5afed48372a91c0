"""Text to Route: features, trained head, calibration, abstention."""

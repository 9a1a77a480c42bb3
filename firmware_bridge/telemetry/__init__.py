"""Readings of devices on their way into a run."""

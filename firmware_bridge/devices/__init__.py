"""Attached miners: what each can tell, what can be set on it within hard limits, and how it gets its work."""

"""One file per schema version; each leads from the one before it."""

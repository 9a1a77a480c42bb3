"""Forward migrations of the trace schema, one file per version."""

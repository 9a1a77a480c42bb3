"""The trace store: what was asked of a miner, what it answered, and when."""

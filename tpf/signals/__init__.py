"""Signals that the sources read in a miner's shares, each beside the value that pure noise gives."""

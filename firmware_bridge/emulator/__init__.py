"""Emulated miners: real hashes and real nonces, in wall-clock or in virtual time."""

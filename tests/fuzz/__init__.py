"""Seeded fuzzing of what strangers can send: Stratum lines, CSV files, user agents.

A short form runs in the suite (`test_fuzz.py`), the long one as ``python -m tests.fuzz --inputs 10000000``.
"""

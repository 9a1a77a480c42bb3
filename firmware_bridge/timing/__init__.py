"""Interval streams, their statistics, the null models they are held against, and the verdict."""

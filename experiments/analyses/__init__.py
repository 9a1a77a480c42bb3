"""Analyses that belong to several experiments and to nothing else."""

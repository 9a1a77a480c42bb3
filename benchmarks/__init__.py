"""What the lab costs, each figure as a ratio against a peer, a budget or a limit measured in the same run.

``python -m benchmarks [NAME…] [--heavy] [--json]``; a ratio at or above its aim is good.
"""

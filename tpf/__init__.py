"""The Thermodynamic Probability Filter: does timing predict which work will succeed, and what energy would that save?

Imports nothing of the lab but the trace store and the pure logic of ``firmware_bridge``.
"""

"""Every order of a small world: leaders, partitions, twins and lost guards, all of them, on the class that agrees.

world.py is the world, cases.py which of its courses there are, recovery.py the arithmetic of lost guards.
`python -m tests.explore` runs them all; a sample is tests/simulation/test_explore.py.
"""

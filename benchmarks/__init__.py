"""Measurements behind every figure and table of the README; each script says in its docstring what it measures."""

"""Exact arithmetic: rationals and balls, for what must be right for reasons that can be checked."""

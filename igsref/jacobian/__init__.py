"""Exact per-sample Jacobian rows, and how well their rounding leaves them known."""

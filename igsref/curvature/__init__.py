"""Curvature: factors A with F = AᵀA/N, the Fisher matrix, its spectrum."""

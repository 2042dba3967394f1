"""Symmetric operators with known eigenvalues, as products."""

import torch

from tests.strategies import gaussian

SMALL = [3.0, 2.0, 2.0, 1.0, 0.5, 0.25, 0.0, 0.0, -1.0, -2.5, 1.5, 0.75]


def outliers_and_bulk(size):
    """What a Fisher matrix looks like: ten outliers, then a smooth decay over many decades."""
    decay = 5.0 / torch.arange(1, size - 9, dtype=torch.float64)
    return torch.cat([torch.linspace(100, 20, 10, dtype=torch.float64), decay])


def turned(values, seed=0):
    """A product whose eigenvectors are no unit vectors: three reflections beside diag(values)."""
    normals = [
        torch.nn.functional.normalize(gaussian(seed + i, len(values)), dim=0) for i in (1, 2, 3)
    ]

    def reflected(vectors, order):
        for normal in order:
            vectors = vectors - 2 * torch.outer(normal, normal @ vectors)
        return vectors

    def product(vectors):
        return reflected(values[:, None] * reflected(vectors, normals), normals[::-1])

    return product


def flat(values):
    """The product by diag(values)."""
    return lambda vectors: values[:, None] * vectors

"""Energies ‖P v‖² in balls, P the projector onto range(A), from an exact basis of one side.

A = blockdiag(Lᵀ) D with Λ' = L Lᵀ block by block. For vectors v = L⁻¹u given by their u,

    B a basis of range D:            ‖P v‖² = (Bᵀu)ᵀ (BᵀΛ'B)⁻¹ (Bᵀu)
    W a basis of its complement:     ‖P v‖² = uᵀΛ'⁻¹u − (WΛ'⁻¹u)ᵀ (WΛ'⁻¹Wᵀ)⁻¹ (WΛ'⁻¹u)

since range(A) = Lᵀ range(D), and its complement L⁻¹ range(D)^⊥. The smaller of the two is solved.
"""

import numpy as np
from flint import arb_mat

from igsref.exact.arithmetic import BALLS, Array, Undecided


def energy_in_range(basis: Array, metric: Array, vectors: Array) -> Array:
    """‖P v_j‖² for u_j, the columns of ``vectors``, (n, k) balls.

    basis: B, (n, r); metric: Λ' block by block, (pool, rows, rows).
    Raises Undecided where the precision does not show BᵀΛ'B to be nonsingular.
    """
    if basis.shape[1] == 0:
        return BALLS.zeros(vectors.shape[1])
    gram = BALLS.matmul(basis.T, blockwise(metric, basis))
    return _quadratic(gram, BALLS.matmul(basis.T, vectors))


def energy_beside_null(null: Array, inverse: Array, vectors: Array) -> Array:
    """The same from W, (n − r, n), and Λ'⁻¹ block by block."""
    whitened = blockwise(inverse, vectors)
    whole = (vectors * whitened).sum(axis=0)
    if len(null) == 0:
        return whole
    gram = BALLS.matmul(null, blockwise(inverse, null.T))
    return whole - _quadratic(gram, BALLS.matmul(null, whitened))


def blockwise(blocks: Array, matrix: Array) -> Array:
    """blockdiag(blocks)·matrix for (k, rows, rows) and (k·rows, columns)."""
    height = blocks.shape[1]
    parts = np.split(matrix, len(matrix) // height)
    return np.concatenate([block @ part for block, part in zip(blocks, parts, strict=True)])


def _quadratic(gram: Array, right: Array) -> Array:
    """zᵀ G⁻¹ z for each column z of ``right``."""
    try:
        solved = arb_mat(gram.tolist()).solve(arb_mat(right.tolist()))
    except ZeroDivisionError as error:
        raise Undecided("a Gram matrix in balls is not shown to be nonsingular") from error
    x = np.array(solved.tolist(), dtype=object)
    return (right * x).sum(axis=0)

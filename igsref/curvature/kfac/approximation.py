"""The EKFAC approximation of the Fisher matrix: blocks for all of θ, and powers of the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from igsref.arguments import check_number, check_tensor, check_type, described
from igsref.curvature.kfac.block import Block
from igsref.curvature.kfac.chunks import in_dtype, source
from igsref.curvature.kfac.kronecker import kronecker_blocks
from igsref.curvature.kfac.layers import KroneckerLayer, kronecker_layers, normalisations
from igsref.curvature.kfac.row_blocks import row_blocks
from igsref.memory import check_budget, require_memory
from igsref.precision import full_float32
from igsref.problem import Problem
from igsref.randomness import preserved_random_state

LARGEST_DENSE = 2048
"""Entries of a normalisation up to which its block of F is kept whole."""

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


@dataclass(frozen=True, eq=False)
class Ekfac:
    """F_ekfac, block-diagonal and positive semidefinite, in θ's order.

    blocks: one for each layer, or tensor, that has its own; together they have every entry of θ.
        Those of "kronecker" layers come first, in the model's order.
    rules: how each tensor of θ is approximated, "kronecker", "dense" or "diagonal"
        (see :func:`ekfac`).
    """

    blocks: tuple[Block, ...]
    rules: dict[str, str]
    num_parameters: int

    def power(
        self,
        vectors: Float[Tensor, "params k"],
        exponent: float,
        damping: float = 0.0,
        absolute: float = 0.0,
    ) -> Float[Tensor, "params k"]:
        """(F_ekfac + λI)^exponent applied to each column, in the vectors' dtype.

        λ = damping · (the block's largest scaling) + absolute, for each block its own: ``damping``
        is relative to a block, ``absolute`` the same number for all. For a negative exponent,
        directions where F_ekfac + λI is 0 are given 0, as by a pseudo-inverse.

        Raises TypeError or ValueError, with the argument, for vectors that are no (m, k) tensor of
        a floating-point dtype, an exponent that is not finite, a damping that is negative or not
        finite.
        """
        _check_vectors(vectors, self.num_parameters)
        _check_finite("exponent", exponent)
        for name, value in (("damping", damping), ("absolute", absolute)):
            _check_finite(name, value)
            if value < 0:
                raise ValueError(f"{name} must not be negative; got {value}")
        out = torch.empty_like(vectors)
        for block in self.blocks:
            part = vectors[block.entries].to(block.scalings.dtype)
            out[block.entries] = block.power(part, exponent, damping, absolute).to(vectors.dtype)
        return out

    def diagonal(self) -> Float[Tensor, " params"]:
        """The diagonal of F_ekfac in θ's own coordinates, (m,).

        That of F where a block is "dense" or "diagonal". A "kronecker" block has F's diagonal in
        its eigenbasis, as its scalings, and another one here.
        """
        out = self.blocks[0].scalings.new_empty(self.num_parameters)
        for block in self.blocks:
            out[block.entries] = block.diagonal()
        return out


@full_float32()
def ekfac(
    problem: Problem,
    *,
    samples: Int64[Tensor, " chosen"] | Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    memory: int | None = None,
) -> Ekfac:
    """EKFAC of F = (1/N_F) Σ J_iᵀ Λ_i J_i (George et al., NeurIPS 2018), labels integrated out.

    Each sample has its R rows Lᵀ K J, with Σ (LᵀKJ)ᵀ(LᵀKJ) = JᵀΛJ: the expectation over labels is
    exact, and neither the true labels nor random ones take part. What has which block:

    "kronecker": weight and bias of every Linear, Conv1d and Conv2d, each group of a grouped
        convolution on its own, in the eigenbasis of their Kronecker factors (of a convolution,
        over patches: Grosse and Martens, A Kronecker-factored approximate Fisher matrix for
        convolution layers, ICML 2016), scaled by the exact second moments of the per-sample rows
        in that basis. A module called several times in a pass has the sum over its calls.
    "dense": γ and β of a normalisation, the block of F that belongs to both, where they have at
        most 2,048 entries.
    "diagonal": all else, the diagonal of F: larger normalisations, embeddings, attention's
        projections, tensors that several modules share, parameters of a module of another kind or
        of a pair (function, params). So too a layer whose calls do not account for its gradient, as
        autograd has it: where its weights are read elsewhere, or samples are not on the first axis.

    problem: made by :func:`igsref.as_problem`; F is a mean over its pool.
    samples: indices of inputs in the pool that F is to be a mean over (all of them unless given).
    dtype: of all computation, torch.float64 or torch.float32.
    memory: budget in bytes (what is free unless given); samples go by in chunks that fit.

    Raises TypeError or ValueError, with the argument, for what is no such problem, samples or
    dtype; MemoryError, with the sizes, where the factors do not fit. Warns with RuntimeWarning
    where vmap refuses a model some of whose tensors are not "kronecker".

    >>> from igsref import as_problem
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> data = (torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0]]))
    >>> approximation = ekfac(as_problem(model, data, likelihood="gaussian"))
    >>> f = approximation.power(torch.eye(2, dtype=torch.float64), 1.0)
    >>> f.round(decimals=9)  # of one layer and one input it is F, here x xᵀ
    tensor([[ 9., 12.],
            [12., 16.]], dtype=torch.float64)
    """
    check_type("problem", problem, Problem, "a Problem: igsref.as_problem(model, data)")
    chosen = _checked_samples(samples, problem.pool_size)
    if dtype not in (torch.float64, torch.float32):
        raise ValueError(f"dtype must be torch.float64 or torch.float32; got {dtype}")
    budget = check_budget(memory, problem.function.device)
    function = in_dtype(problem.function, dtype)
    layers, norms = kronecker_layers(function), normalisations(function)
    theta = function.parameters
    norms = [names for names in norms if _size(theta, names) <= LARGEST_DENSE]
    kept = _require(layers, [_size(theta, names) for names in norms], problem, dtype, budget)
    with preserved_random_state():
        chunks = source(problem, chosen, layers, function, budget - kept)
        found = kronecker_blocks(chunks, layers)
        rules = dict.fromkeys(theta, "diagonal")
        rules |= {name: "kronecker" for layer in found for name in layer.names}
        rules |= {name: "dense" for names in norms for name in names}
        diagonal = [name for name, rule in rules.items() if rule == "diagonal"]
        blocks = (*found.values(), *row_blocks(chunks, norms, diagonal))
    return Ekfac(blocks, rules, problem.num_parameters)


def _size(theta: dict[str, Tensor], names: Sequence[str]) -> int:
    return sum(theta[name].numel() for name in names)


def _require(
    layers: Sequence[KroneckerLayer],
    dense: Sequence[int],
    problem: Problem,
    dtype: torch.dtype,
    budget: int,
) -> int:
    """Bytes of bases, scalings and places in θ, with an eigendecomposition; MemoryError beyond."""
    sides = [(layer.groups, side) for layer in layers for side in (layer.inputs, layer.outputs)]
    sides += [(1, size) for size in dense]
    squares = [groups * side * side for groups, side in sides]
    entries = sum(squares) + 3 * max(squares, default=0) + 2 * problem.num_parameters
    kept = entries * (torch.finfo(dtype).bits // 8) + 8 * problem.num_parameters
    require_memory(
        kept,
        budget,
        f"EKFAC of {problem.num_parameters} parameters, with factors of up to "
        f"{max((side for _, side in sides), default=1)} entries a side,",
        "choose fewer parameters with parameters='…'",
    )
    return kept


def _checked_samples(samples: Any, size: int) -> Int64[Tensor, " chosen"]:
    if samples is None:
        return torch.arange(size)
    try:
        indices = torch.as_tensor(samples).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        indices = None
    if indices is None or (indices.numel() and indices.dtype not in _INTEGERS):
        raise TypeError(f"samples must be indices, integers; got {described(samples)}")
    if indices.ndim != 1 or not indices.numel():
        raise ValueError(
            f"samples must be a list of at least one index; got shape {tuple(indices.shape)}"
        )
    bad = ((indices < 0) | (indices >= size)).nonzero()
    if len(bad):
        first = int(bad[0, 0])
        raise ValueError(
            f"samples must lie in 0..{size - 1}, the inputs of the pool; samples[{first}] is "
            f"{int(indices[first])}"
        )
    return indices.long()


def _check_vectors(vectors: Any, size: int) -> None:
    check_tensor("vectors", vectors)
    if not vectors.is_floating_point():
        raise TypeError(f"vectors must have a floating-point dtype; got {vectors.dtype}")
    if vectors.ndim != 2 or len(vectors) != size:
        raise ValueError(f"vectors must have shape ({size}, k); got {tuple(vectors.shape)}")


def _check_finite(name: str, value: Any) -> None:
    check_number(name, value)
    if not abs(value) < float("inf"):
        raise ValueError(f"{name} must be finite; got {value}")

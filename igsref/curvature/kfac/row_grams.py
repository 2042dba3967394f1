"""A_i T² A_iᵀ of each sample's own rows, T a power of EKFAC: without the rows, where layers tell.

Row r has the gradient Σ_t δ_rt a_tᵀ in a layer, so that in the layer's eigenbasis, where T² is
diagonal, the products of all pairs of rows come from δ and a; a dense row would have to be rotated.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from igsref.curvature.kfac.approximation import Ekfac
from igsref.curvature.kfac.block import Block
from igsref.curvature.kfac.capture import capture
from igsref.curvature.kfac.chunks import Chunk, Source, in_dtype, source
from igsref.curvature.kfac.kronecker import in_bases
from igsref.curvature.kfac.layers import KroneckerLayer, kronecker_layers
from igsref.curvature.kfac.row_blocks import restricted
from igsref.jacobian.rows import jacobian_rows
from igsref.memory import FLOAT64_BYTES, check_budget
from igsref.precision import full_float32
from igsref.problem import Problem
from igsref.randomness import preserved_random_state


@full_float32()
def row_grams(
    problem: Problem,
    approximation: Ekfac,
    exponent: float,
    damping: float = 0.0,
    *,
    samples: Int64[Tensor, " chosen"] | None = None,
    memory: int | None = None,
) -> Float64[Tensor, "chosen rows rows"]:
    """A_i T² A_iᵀ, T = (F_ekfac + λI)^exponent as :meth:`Ekfac.power` has it; A_i = Lᵀ K J.

    samples: which inputs of the problem's pool (all unless given). memory: budget in bytes (what
    is free unless given). Derivatives are taken in the approximation's dtype, sums in float64.

    Raises MemoryError, with the sizes, where one sample does not fit.
    """
    function = in_dtype(problem.function, approximation.blocks[0].scalings.dtype)
    rules = approximation.rules
    layers = [
        layer
        for layer in kronecker_layers(function)
        if all(rules[name] == "kronecker" for name in layer.names)
    ]
    rest = [name for name in rules if rules[name] != "kronecker"]
    blocks = approximation.blocks
    chosen = torch.arange(problem.pool_size) if samples is None else samples.cpu()
    budget = check_budget(memory, function.device)
    out = []
    with preserved_random_state():
        whole = source(problem, chosen, layers, function, budget, all_rows=True)
        for chunk in whole.chunks("weights"):
            pairs = zip(layers, blocks, strict=False)  # theirs are the first blocks
            grams = _of_layers(chunk, dict(pairs), exponent, damping, whole.work)
            grams += _of_rows(whole, chunk, blocks[len(layers) :], rest, exponent, damping)
            scales = 1 / chunk.scales
            out.append(scales[:, :, None] * grams * scales[:, None, :])
    return torch.cat(out)


def _of_layers(
    chunk: Chunk,
    blocks: dict[KroneckerLayer, Block],
    exponent: float,
    damping: float,
    work: int,
) -> Float64[Tensor, "samples rows rows"]:
    height = chunk.cotangents.shape[1]
    out = chunk.scales.new_zeros(len(chunk), height, height)
    if not blocks:
        return out
    found = capture(chunk.problem, list(blocks))
    bases = {layer: block.bases() for layer, block in blocks.items()}
    for layer, delta, a in in_bases(found, chunk.cotangents, bases):
        _add_grams(out, delta, a, blocks[layer].factors(exponent, damping), work)
    return out


def _add_grams(
    total: Float64[Tensor, "samples rows rows"],
    delta: Float[Tensor, "samples rows groups outputs positions"],
    a: Float[Tensor, "samples groups inputs positions"],
    factors: Float[Tensor, "groups outputs inputs"],
    work: int,
) -> None:
    """total += Σ_oi (f_oi Σ_t δ_rot a_it)(f_oi Σ_t δ_qot a_it), in ``work`` bytes."""
    height = delta.shape[1]
    if a.shape[3] == 1:
        delta, a = delta.squeeze(4).double(), a.squeeze(3).double()
        sizes = torch.einsum("goi,ngi->ngo", factors.double().square(), a.square())
        total += torch.einsum("nrgo,ngo,nqgo->nrq", delta, sizes, delta)
        return
    row = (factors.element_size() + FLOAT64_BYTES) * factors.numel()
    size = max(1, work // (height * row))
    parts = zip(total.split(size), delta.split(size), a.split(size), strict=True)
    for grams, left, right in parts:
        # (n, g, R·o, t) times (n, g, t, i): one product for all rows of a sample.
        together = left.transpose(1, 2).flatten(2, 3) @ right.mT
        matrices = together.unflatten(2, (height, -1)) * factors[:, None]
        # Many small products over i instead of a few long ones over o and i keep a GPU busy.
        by_output = matrices.transpose(2, 3).double()
        grams += (by_output @ by_output.mT).sum(dim=(1, 2))


def _of_rows(
    source: Source,
    chunk: Chunk,
    blocks: tuple[Block, ...],
    names: list[str],
    exponent: float,
    damping: float,
) -> Float64[Tensor, "samples rows rows"] | float:
    """What the tensors without a Kronecker eigenbasis add, some samples at a time."""
    if not names:
        return 0.0
    part = replace(chunk.problem, function=restricted(chunk.problem.function, set(names)))
    height, m = chunk.cotangents.shape[1], part.num_parameters
    own = torch.cat([block.entries.flatten() for block in blocks]).sort().values
    size = max(1, source.work // (height * m * (source.dtype.itemsize + FLOAT64_BYTES)))
    out = []
    for samples in torch.arange(len(chunk)).split(size):
        rows = jacobian_rows(part, chunk.cotangents, samples=samples).mT
        powered = torch.empty_like(rows)
        for block in blocks:
            places = torch.searchsorted(own, block.entries)
            powered[places] = block.power(rows[places], exponent, damping, 0.0)
        flat = powered.mT.double().view(len(samples), height, m)
        out.append(flat @ flat.mT)
    return torch.cat(out)

"""Kronecker eigenbases of layers, and the second moments of per-sample gradients in them.

Row r of sample i has the gradient G_ir = Σ_t δ_irt a_itᵀ, t the positions; F is the mean over i of
Σ_r vec(G_ir) vec(G_ir)ᵀ. U_A and U_B are eigenvectors of A = Σ_it a aᵀ and B = Σ_irt δ δᵀ, whose
scale does not matter here: the scalings S = (1/N) Σ_ir (U_Bᵀ G_ir U_A)² are exact (George et al.,
Fast approximate natural gradient descent in a Kronecker-factored eigenbasis, NeurIPS 2018), so
that they are the diagonal of UᵀFU, and no other diagonal in this basis is nearer to F.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.curvature.kfac.block import Block
from igsref.curvature.kfac.capture import Capture, capture
from igsref.curvature.kfac.chunks import Source
from igsref.curvature.kfac.layers import KroneckerLayer

Bases = dict[KroneckerLayer, tuple[Tensor, Tensor]]
"""U_A (groups, inputs, inputs) and U_B (groups, outputs, outputs)."""


def kronecker_blocks(
    source: Source, layers: Sequence[KroneckerLayer]
) -> dict[KroneckerLayer, Block]:
    """The block of each layer whose gradient its calls tell, as held against autograd's own."""
    bases = _bases(source, layers)
    scalings = _scalings(source, bases)
    theta = source.function.parameters
    return {layer: Block(layer.entries(theta), scalings[layer], *bases[layer]) for layer in bases}


def _bases(source: Source, layers: Sequence[KroneckerLayer]) -> Bases:
    """Eigenvectors of A and B; layers drop out where a chunk of samples shows that they must."""
    like = next(iter(source.function.parameters.values()))
    factors = {
        layer: (
            like.new_zeros(layer.groups, layer.inputs, layer.inputs),
            like.new_zeros(layer.groups, layer.outputs, layer.outputs),
        )
        for layer in layers
    }
    for chunk in source.chunks("bases") if layers else ():
        found = capture(chunk.problem, list(factors))
        first = chunk.cotangents[:, :1]
        faithful = found.faithful(first.squeeze(1), found.derivatives(first))
        factors = {layer: factors[layer] for layer in faithful}
        for layer, (a, _) in factors.items():
            if found.uses[layer]:
                add_outer(a, found.inputs(layer))
        for cotangents in source.groups(chunk):
            derivatives = found.derivatives(cotangents)
            for layer, (_, b) in factors.items():
                if layer in derivatives:
                    add_outer(b, derivatives[layer].flatten(0, 1))
    # Popped one by one: a factor is let go as soon as its eigenvectors are there.
    return {
        layer: tuple(torch.linalg.eigh(factor).eigenvectors for factor in factors.pop(layer))
        for layer in list(factors)
    }


def add_outer(
    total: Float[Tensor, "groups size size"], vectors: Float[Tensor, "batch groups size positions"]
) -> None:
    """total += Σ v vᵀ, over batch and positions."""
    columns = vectors.permute(1, 2, 0, 3).flatten(2)
    total.baddbmm_(columns, columns.mT)


def _scalings(source: Source, bases: Bases) -> dict[KroneckerLayer, Tensor]:
    """S of each layer, (groups, outputs, inputs)."""
    like = next(iter(source.function.parameters.values()))
    sums = {layer: like.new_zeros(layer.groups, layer.outputs, layer.inputs) for layer in bases}
    for chunk in source.chunks("scalings") if bases else ():
        found = capture(chunk.problem, list(bases))
        for cotangents in source.groups(chunk):
            for layer, delta, a in in_bases(found, cotangents, bases):
                add_squares(sums[layer], delta, a, source.work)
    return {layer: total / len(source.samples) for layer, total in sums.items()}


def in_bases(
    found: Capture,
    cotangents: Float[Tensor, "samples rows classes"],
    bases: Bases,
) -> Iterator[
    tuple[
        KroneckerLayer,
        Float[Tensor, "samples rows groups outputs positions"],
        Float[Tensor, "samples groups inputs positions"],
    ]
]:
    """U_Bᵀδ and U_Aᵀa of each layer that was called."""
    derivatives = found.derivatives(cotangents)
    for layer in list(derivatives):
        inputs, outputs = bases[layer]
        a = torch.einsum("gij,ngit->ngjt", inputs, found.inputs(layer))
        yield layer, torch.einsum("gop,nrgot->nrgpt", outputs, derivatives.pop(layer)), a


def add_squares(
    total: Float[Tensor, "groups outputs inputs"],
    delta: Float[Tensor, "samples rows groups outputs positions"],
    a: Float[Tensor, "samples groups inputs positions"],
    work: int,
) -> None:
    """total += Σ_ir (Σ_t δ_irt a_itᵀ)², the square of each entry; in ``work`` bytes."""
    if a.shape[3] == 1:
        outer = delta.square().sum(dim=1).squeeze(3), a.square().squeeze(3)
        total += torch.einsum("ngo,ngi->goi", *outer)
        return
    size = max(1, work // (total.element_size() * total.numel()))
    for row in delta.unbind(1):
        for left, right in zip(row.split(size), a.split(size), strict=True):
            total += (left @ right.mT).square_().sum(dim=0)

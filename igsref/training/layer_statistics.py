"""What EKFAC averages of each layer while it trains: Kronecker factors, their bases, scalings.

A basis is made of the eigenvectors of a factor, A or B, as in :mod:`igsref.curvature.kfac`. Of a
normalisation it is the identity: over a batch x̂ has mean 0 and variance 1, so that A is a multiple
of the identity and rounding would choose the basis. So it is for the tokens of a table, whose A is
diagonal; the entries of its vectors have a basis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from igsref.curvature.kfac.block import Block
from igsref.curvature.kfac.capture import Capture
from igsref.curvature.kfac.kronecker import add_outer, add_squares
from igsref.curvature.kfac.layers import KroneckerLayer
from igsref.flat import ranges
from igsref.memory import FLOAT64_BYTES
from igsref.training.layers import Embedding, Normalisation

_WORK = 2**27
"""Bytes for one layer's per-sample gradients."""


@dataclass(eq=False)
class LayerStatistics:
    """The running averages of a layer, or of a tensor on its own, whose layer is None.

    averages: "scalings", S, the diagonal of F in the basis, and, where they choose it, "inputs" and
        "outputs", the factors A and B. bases: eigenvectors of these under the same names; the
        identity before the first refresh, and where there is none.
    sums: what a batch has added to some of the averages so far.
    """

    layer: KroneckerLayer | None
    entries: Int64[Tensor, "groups outputs inputs"]
    averages: dict[str, Tensor]
    bases: dict[str, Tensor]
    sums: dict[str, Tensor] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        """Its name: "kronecker", "embedding" or "diagonal"."""
        if isinstance(self.layer, Embedding):
            return "embedding"
        return "kronecker" if self.bases else "diagonal"

    def open(self, names: Sequence[str]) -> None:
        """Begin the sums of a batch."""
        self.sums = {n: torch.zeros_like(v) for n, v in self.averages.items() if n in names}

    def close(self, count: Float[Tensor, ""], rate: float) -> None:
        """average += rate · (sum/count − average)."""
        for name, total in self.sums.items():
            self.averages[name].lerp_(total / count.to(total), rate)
        self.sums = {}

    def add(
        self,
        layer: KroneckerLayer,
        found: Capture,
        delta: Float[Tensor, "samples rows groups outputs positions"],
        *,
        first: bool,
    ) -> None:
        """A += Σ a aᵀ, with a batch's first rows alone; B += Σ δ δᵀ; S += Σ (U_Bᵀ δ aᵀ U_A)²."""
        sums = self.sums
        delta = _read_derivatives(layer, found, delta)
        if "outputs" in sums:
            add_outer(sums["outputs"], delta.flatten(0, 1))
        if "inputs" in sums and first:
            add_outer(sums["inputs"], found.inputs(layer).to(delta))
        if "scalings" not in sums:
            return
        if "outputs" in self.bases:
            delta = torch.einsum("gop,nrgot->nrgpt", self.bases["outputs"], delta)
        if isinstance(layer, Embedding):
            _add_token_squares(sums["scalings"], delta, layer.tokens(found))
            return
        a = found.inputs(layer).to(delta)
        if "inputs" in self.bases:
            a = torch.einsum("gij,ngit->ngjt", self.bases["inputs"], a)
        add_squares(sums["scalings"], delta, a, _WORK)

    def add_probe(self, gradient: Tensor) -> None:
        """S += (Σ_i z_i g_i)², of a tensor on its own, z the random signs of the rows."""
        if "scalings" in self.sums:
            self.sums["scalings"] += gradient.to(self.sums["scalings"]).square().view(1, 1, -1)

    def block(self) -> Block:
        """U diag(S) Uᵀ on the layer's entries of θ."""
        bases = self.bases.get("inputs"), self.bases.get("outputs")
        return Block(self.entries, self.averages["scalings"], *bases)

    def refresh(self) -> None:
        """Bases from the factors; the approximation so far is carried into them.

        In the new basis it is no longer diagonal; what is kept is its diagonal, (Q∘Q) S with
        Q = U_newᵀ U_old, which has the same trace.
        """
        turns = {}
        for side, old in self.bases.items():
            new = torch.linalg.eigh(self.averages[side].double()).eigenvectors.to(old)
            new = new.contiguous()  # products of a state that was loaded add in the same order
            turns[side], self.bases[side] = new.mT @ old, new
        turned = turns.get("inputs"), turns.get("outputs")
        carried = Block(self.entries, self.averages["scalings"], *turned)
        self.averages["scalings"] = carried.diagonal()


def empty_statistics(layer: KroneckerLayer, theta: Mapping[str, Tensor]) -> LayerStatistics:
    """A layer's statistics before any batch, in its dtype, or float32 where that is shorter."""
    like = theta[layer.names[0]]
    sizes = _sizes(layer)
    averages = {side: _zeros(like, layer.groups, size, size) for side, size in sizes.items()}
    units = {side: torch.eye(value.shape[1]).to(value) for side, value in averages.items()}
    bases = {side: unit.repeat(layer.groups, 1, 1) for side, unit in units.items()}
    entries = layer.entries(theta)
    averages["scalings"] = _zeros(like, *entries.shape)
    return LayerStatistics(layer, entries, averages, bases)


def _sizes(layer: KroneckerLayer) -> dict[str, int]:
    """Side ↦ order of its factor, of the sides that have a basis."""
    if isinstance(layer, Normalisation):
        return {}
    if isinstance(layer, Embedding):
        return {"outputs": layer.outputs}
    return {"inputs": layer.inputs, "outputs": layer.outputs}


def held_bytes(layer: KroneckerLayer, theta: Mapping[str, Tensor]) -> int:
    """What a layer's statistics take while a batch is looked at.

    Of each factor an average, its basis, and a batch's sum; of each of θ's entries the average,
    the sum, and its place.
    """
    item = _dtype(theta[layer.names[0]]).itemsize
    factors = sum(layer.groups * size**2 for size in _sizes(layer).values())
    entries = sum(theta[name].numel() for name in layer.names)
    return 3 * item * factors + (2 * item + torch.int64.itemsize) * entries


def passing_bytes(layer: KroneckerLayer) -> int:
    """What it takes besides, for a while: per-sample gradients, or the making of a basis.

    Of a basis: the factor in float64, LAPACK's copy of it and its workspace of twice that (syevd),
    the turn from the old basis.
    """
    bases = (5 * FLOAT64_BYTES * layer.groups * size**2 for size in _sizes(layer).values())
    return max([_WORK, *bases])


def tensor_statistics(name: str, theta: Mapping[str, Tensor]) -> LayerStatistics:
    """The diagonal of F on one tensor, before any batch."""
    place, like = ranges(theta)[name], theta[name]
    entries = torch.arange(place.start, place.stop, device=like.device)[None, None]
    return LayerStatistics(None, entries, {"scalings": _zeros(like, *entries.shape)}, {})


def _zeros(like: Tensor, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=_dtype(like), device=like.device)


def _dtype(like: Tensor) -> torch.dtype:
    return torch.promote_types(like.dtype, torch.float32)


def faithful(
    found: Capture,
    cotangents: Float[Tensor, "samples one classes"],
    weights: Float[Tensor, " samples"] | None,
) -> list[KroneckerLayer]:
    """``Capture.faithful`` of layers, and the same of tables, without their one-hot rows."""
    derivatives = found.derivatives(cotangents)
    tables = [layer for layer in found.uses if isinstance(layer, Embedding)]
    others = {layer: uses for layer, uses in found.uses.items() if layer not in tables}
    told = replace(found, uses=others).faithful(
        cotangents[:, 0], {layer: derivatives[layer] for layer in others if others[layer]}, weights
    )
    if not tables:
        return told
    exact = torch.autograd.grad(
        found.logits,
        [found.leaves[table.names[0]] for table in tables],
        cotangents[:, 0],
        retain_graph=True,
        materialize_grads=True,
    )
    return told + [
        table
        for table, gradient in zip(tables, exact, strict=True)
        if _is_told(table, found, derivatives.get(table), gradient)
    ]


def _is_told(
    table: Embedding,
    found: Capture,
    delta: Float[Tensor, "samples one groups outputs positions"] | None,
    gradient: Float[Tensor, "tokens outputs"],
) -> bool:
    """Whether a table's gradient is Σ e_token δᵀ over its calls; 0 where it was not called."""
    if delta is None:
        return not bool(gradient.any())
    delta = _read_derivatives(table, found, delta)[:, 0, 0]
    sums = delta.new_zeros(gradient.shape)
    sums.index_add_(0, table.tokens(found).flatten(), delta.mT.flatten(0, 1))
    share = torch.finfo(gradient.dtype).eps ** 0.5
    return float((sums - gradient).norm()) <= share * float(delta.norm())


def _read_derivatives(
    layer: KroneckerLayer, found: Capture, delta: Tensor
) -> Float[Tensor, "samples rows groups outputs positions"]:
    """δ, 0 where a table's padding was read, which learns nothing; in float32 at least."""
    if isinstance(layer, Embedding) and layer.module.padding_idx is not None:
        read = layer.tokens(found) != layer.module.padding_idx
        delta = delta * read[:, None, None, None]
    return delta.to(torch.promote_types(delta.dtype, torch.float32))


def _add_token_squares(
    total: Float[Tensor, "one outputs tokens"],
    delta: Float[Tensor, "samples rows one outputs positions"],
    tokens: Int64[Tensor, "samples positions"],
) -> None:
    """Σ_ir (Σ_t δ_irt e_tokenᵀ)²: only what a sample read is formed."""
    samples, rows, _, outputs, _ = delta.shape
    offsets = total.shape[2] * torch.arange(samples, device=tokens.device)
    pairs, where = (offsets[:, None] + tokens).flatten().unique(return_inverse=True)
    by_token = delta.squeeze(2).permute(0, 3, 1, 2).flatten(0, 1)
    sums = delta.new_zeros(len(pairs), rows, outputs).index_add_(0, where, by_token)
    total[0].index_add_(1, pairs % total.shape[2], sums.square().sum(dim=1).mT)

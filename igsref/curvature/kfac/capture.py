"""One forward pass, with what each layer reads in it, and derivatives at the layers' outputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from igsref.curvature.kfac.layers import KroneckerLayer
from igsref.problem import Problem


class Use(NamedTuple):
    """What a layer read and gave in one call: modules may be called several times in a pass."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, eq=False)
class Capture:
    """The logits of all samples, and the uses of the layers that can be read.

    A layer that is called twice has the positions of both calls, as its gradient is the sum.
    """

    logits: Float[Tensor, "samples classes"]
    uses: dict[KroneckerLayer, list[Use]]
    leaves: dict[str, Tensor]

    def inputs(self, layer: KroneckerLayer) -> Float[Tensor, "samples groups inputs positions"]:
        """a at all its positions, in all its uses."""
        samples = len(self.logits)
        return torch.cat([layer.read(use.x, samples) for use in self.uses[layer]], dim=3)

    def derivatives(
        self, cotangents: Float[Tensor, "samples rows classes"]
    ) -> dict[KroneckerLayer, Float[Tensor, "samples rows groups outputs positions"]]:
        """δ at all their positions for each row, by one backward pass a row."""
        samples, called = len(self.logits), [layer for layer in self.uses if self.uses[layer]]
        outputs = [use.y for layer in called for use in self.uses[layer]]
        rows: dict[KroneckerLayer, list[Tensor]] = {layer: [] for layer in called}
        for cotangent in cotangents.unbind(1):
            found = iter(self._pulled_back(cotangent, outputs))
            for layer in called:
                parts = [layer.written(next(found), samples) for _ in self.uses[layer]]
                rows[layer].append(torch.cat(parts, dim=3))
        return {layer: torch.stack(parts, dim=1) for layer, parts in rows.items()}

    def _pulled_back(self, cotangents: Tensor, to: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Derivatives of Σ_i c_i·f_i; 0 where the logits do not depend on something."""
        if not to or not self.logits.requires_grad:
            return tuple(torch.zeros_like(value) for value in to)
        return torch.autograd.grad(
            self.logits, to, cotangents, retain_graph=True, materialize_grads=True
        )

    def faithful(
        self,
        cotangents: Float[Tensor, "samples classes"],
        derivatives: dict[KroneckerLayer, Tensor],
        weights: Float[Tensor, " samples"] | None = None,
    ) -> list[KroneckerLayer]:
        """The layers whose gradients are what their uses say, for every sample.

        Σ_i w_i δ_i a_iᵀ with random weights w is autograd's derivative of Σ_i w_i c_i·f_i up to
        rounding, far below √eps ‖w δ‖‖a‖. It is not if the weights are read outside of the
        layer's call, if a hook or another forward changes what comes of them, or if the first axis
        holds not samples.

        weights: w, random unless given. Where δ_i is a derivative of all samples' c·f, as batch
        statistics make it, only ones are right, and do not tell what the first axis holds.
        """
        if weights is None:
            weights = torch.randn(len(self.logits), generator=torch.Generator().manual_seed(0))
        weights = weights.to(cotangents)
        found = self._pulled_back(weights[:, None] * cotangents, list(self.leaves.values()))
        exact = dict(zip(self.leaves, found, strict=True))
        share = torch.finfo(cotangents.dtype).eps ** 0.5
        out = []
        for layer in self.uses:
            error, size = layer.matrices(exact), 0.0
            if self.uses[layer]:
                delta = weights[:, None, None, None] * derivatives[layer].squeeze(1)
                a = self.inputs(layer)
                error = error - torch.einsum("ngot,ngit->goi", delta, a)
                size = float(delta.norm() * a.norm())
            if float(error.norm()) <= share * size:
                out.append(layer)
        return out


def capture(problem: Problem, layers: Sequence[KroneckerLayer]) -> Capture:
    """The logits of a problem's whole pool, differentiable in what the layers have in θ.

    ``uses`` leaves out layers that were called with something else than they read on their own.
    """
    names = [name for layer in layers for name in layer.names]
    theta = problem.function.parameters
    leaves = {name: theta[name].detach().requires_grad_(True) for name in names}
    samples = problem.pool_size
    with torch.enable_grad(), _recorded(layers, samples) as (uses, unreadable):
        args, kwargs = problem.samples.inputs(slice(None))
        logits = problem.function.call({**theta, **leaves}, args, kwargs)
    read = {layer: found for layer, found in uses.items() if layer not in unreadable}
    return Capture(logits, read, {name: leaves[name] for layer in read for name in layer.names})


@contextmanager
def _recorded(
    layers: Sequence[KroneckerLayer], samples: int
) -> Iterator[tuple[dict[KroneckerLayer, list[Use]], set[KroneckerLayer]]]:
    """Hooks that record each call of the layers, and which layers cannot be read."""
    uses: dict[KroneckerLayer, list[Use]] = {layer: [] for layer in layers}
    unreadable: set[KroneckerLayer] = set()

    def record(layer: KroneckerLayer, args: tuple[Any, ...], y: Any) -> Any:
        x = args[0] if len(args) == 1 else None
        if not layer.readable(x, y, samples):
            unreadable.add(layer)
            return y
        uses[layer].append(Use(args[0].detach(), y))
        # What the network does to the output in place is done to a copy.
        return y.clone()

    def hook_for(layer: KroneckerLayer) -> Any:
        return lambda module, args, y: record(layer, args, y)

    hooks = [layer.module.register_forward_hook(hook_for(layer)) for layer in layers]
    try:
        yield uses, unreadable
    finally:
        for hook in hooks:
            hook.remove()

"""EKFAC of a network in training: running averages on the batches as they come.

George, Laurent, Bouthillier, Ballas, Vincent, "Fast Approximate Natural Gradient Descent in a
Kronecker-factored Eigenbasis", NeurIPS 2018. The blocks are those of :mod:`igsref.curvature.kfac`,
made of the live model, in its mode and dtype:

    ekfac = igsref.training.EKFAC(model)
    for x, y in loader:
        ...                            # gradients of the batch
        ekfac.update(x)                # does something on every tenth call
        step = ekfac(gradients)        # (F_ekfac + λ)⁻¹ g, by the parameters' names

A statistic v of batch k enters its average with the weight decay^(K−k), normalised over all K
batches so far. When a basis is replaced, the average of the scalings is carried over to the new one
(:meth:`.layer_statistics.LayerStatistics.refresh`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from igsref.arguments import (
    check_generator,
    check_model,
    check_number,
    check_type,
    checked_integer,
)
from igsref.curvature.kfac.approximation import Ekfac
from igsref.curvature.kfac.capture import Capture
from igsref.curvature.kfac.layers import KroneckerLayer
from igsref.data import Samples
from igsref.flat import flatten, unflatten
from igsref.likelihoods import Likelihood, find_likelihood
from igsref.measures.sharpness.neighbourhood import checked_allowance
from igsref.memory import available_memory, readable, require_memory
from igsref.precision import full_float32
from igsref.randomness import preserved_random_state
from igsref.training.label_rules import LabelRule, exact_labels
from igsref.training.layer_statistics import (
    LayerStatistics,
    empty_statistics,
    faithful,
    held_bytes,
    passing_bytes,
    tensor_statistics,
)
from igsref.training.layers import KNOWN, known_layers
from igsref.training.live import (
    bare,
    has_batch_statistics,
    live_capture,
    live_function,
    process_group,
    samples_of,
    trainable,
)
from igsref.training.two_pass import check_like, check_state

_ROWS_AT_ONCE = 16
"""Rows of every sample whose derivatives are held together."""

_FACTORS, _SCALINGS = ("inputs", "outputs"), ("scalings",)


class EKFAC:
    """F_ekfac from running averages, and powers of it.

    What has which rule, with positions, groups and several calls of a module as in
    :func:`igsref.curvature.kfac.ekfac`:

    "kronecker": weight and bias of Linear, Conv1d and Conv2d. Scalings are exact second moments of
        per-sample gradients in the basis.
    "embedding": the same of a table, with a basis for the entries of its vectors alone.
    "diagonal": γ and β of a normalisation, the diagonal of F. On request (``allow_diagonal``) also
        every tensor that no such layer has on its own, biases too: the diagonal of F, estimated
        with random signs of samples, E[(Σ z_i g_i)²] = Σ g_i². Without the request such a tensor
        is refused.

    model: as it is trained; of a ``DistributedDataParallel`` the statistics are those of all
        processes' batches together.
    likelihood: a name or a ``Likelihood``; "categorical" unless given.
    labels: exact_labels (the default), sampled_labels or empirical_labels, or another such rule.
    damping, absolute: λ = damping · (the block's largest scaling) + absolute. Fractions from .01 to
        .1 of the largest have trained networks; of the mean they have not, as most are near 0.
    statistics_every, basis_every: updates from one look at a batch to the next, and from one
        eigendecomposition to the next, which happens at such a look.
    decay: of the averages from one look to the next; 0 keeps the last one alone.
    generator: of signs and drawn labels, on the CPU; seeded with 0 unless given.

    Where BatchNorm takes batch statistics, a sample's logits depend on all samples. The derivatives
    at a sample's place are then those of all logits; random signs of samples leave no products of
    two samples' rows in expectation. A look leaves running statistics and random states as they
    were.

    Raises TypeError or ValueError that names the argument, or the tensors without a rule;
    MemoryError, with the sizes, where the device has no room for the factors.
    """

    model: nn.Module
    likelihood: Likelihood
    labels: LabelRule
    damping: float
    absolute: float
    statistics_every: int
    basis_every: int
    decay: float
    allow_diagonal: bool
    generator: torch.Generator
    group: dist.ProcessGroup | None
    updates: int
    settings: dict[str, Any]

    def __init__(
        self,
        model: nn.Module,
        *,
        likelihood: str | Likelihood = "categorical",
        labels: LabelRule = exact_labels,
        damping: float = 0.1,
        absolute: float = 0.0,
        statistics_every: SupportsIndex = 10,
        basis_every: SupportsIndex = 400,
        decay: float = 0.95,
        allow_diagonal: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        check_model(model)
        check_number("decay", decay)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1; got {decay}")
        if not callable(labels):
            raise TypeError(f"labels must be a rule such as exact_labels; got {labels!r}")
        self.model = bare(model)
        self.likelihood, self.labels = find_likelihood(likelihood), labels
        self.damping = checked_allowance("damping", damping)
        self.absolute = checked_allowance("absolute", absolute)
        self.statistics_every = checked_integer("statistics_every", statistics_every, least=1)
        self.basis_every = checked_integer("basis_every", basis_every, least=1)
        self.decay, self.allow_diagonal = float(decay), allow_diagonal
        self.generator = torch.Generator().manual_seed(0) if generator is None else generator
        check_generator(self.generator)
        self.group = process_group(model)
        self.updates = 0
        self.settings = {
            "method": "EKFAC",
            "likelihood": self.likelihood.name,
            "labels": getattr(labels, "__name__", repr(labels)),
            "damping": self.damping,
            "absolute": self.absolute,
            "statistics_every": self.statistics_every,
            "basis_every": self.basis_every,
            "decay": self.decay,
        }
        self._basis_made, self._weight = 0, 0.0
        self._statistics: dict[tuple[str, ...], LayerStatistics] = {}
        self._assign_rules()

    def update(self, x: Any, y: Tensor | None = None) -> None:
        """Look at a batch, if it is time to.

        x: what the model is called with, a tensor, a tuple of them, or a mapping of keyword inputs;
        y: its labels, for rules that ask for them.

        Raises FloatingPointError for logits that are not finite; ValueError for an empty batch and,
        with the tensors, where a layer's calls in this first batch do not account for its gradient,
        as autograd has it, unless ``allow_diagonal``.
        """
        if isinstance(x, Mapping):
            samples = samples_of((), x, y)
        else:
            samples = samples_of(tuple(x) if isinstance(x, tuple | list) else (x,), {}, y)
        self.update_in_parts([samples])

    def update_in_parts(self, parts: Sequence[Samples]) -> None:
        """The same of a batch that came in several passes; without labels if they are empty."""
        if self.updates % self.statistics_every == 0:
            self._look(parts)
        self.updates += 1

    def power(self, gradients: Mapping[str, Tensor], exponent: float) -> dict[str, Tensor]:
        """(F_ekfac + λ)^exponent g under the same names; parameters that are left out count as 0.

        A negative exponent without damping is that of a pseudo-inverse. Raises TypeError or
        ValueError for what is no tensor of a trainable parameter's shape under its name,
        RuntimeError before the first update.
        """
        theta = self._theta()
        check_type("gradients", gradients, Mapping, "tensors by the parameters' names")
        strangers = [name for name in gradients if name not in theta]
        if strangers:
            raise ValueError(f"gradients must have names of parameters of model; got {strangers}")
        check_like(gradients, {name: theta[name] for name in gradients}, "gradients")
        whole = {n: gradients.get(n, torch.zeros_like(value)) for n, value in theta.items()}
        powered = self.approximation().power(
            flatten(whole)[:, None], exponent, self.damping, self.absolute
        )
        named = unflatten(powered[:, 0], theta)
        return {name: named[name] for name in gradients}

    def __call__(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(F_ekfac + λ)⁻¹ g."""
        return self.power(gradients, -1.0)

    def approximation(self) -> Ekfac:
        """What has been averaged so far; :func:`igsref.matrixfree_igs` takes it as preconditioner.

        Raises RuntimeError before the first update.
        """
        if not self._weight:
            raise RuntimeError("EKFAC has no statistics yet; update must come first")
        first = sorted(self._statistics.values(), key=lambda found: found.rule != "kronecker")
        blocks = tuple(statistics.block() for statistics in first)
        size = sum(block.entries.numel() for block in blocks)
        return Ekfac(blocks, self.rules, size)

    @property
    def rules(self) -> dict[str, str]:
        """Each parameter's rule, "kronecker", "embedding" or "diagonal"."""
        kinds: dict[str, str] = {}
        for key, statistics in self._statistics.items():
            kinds |= dict.fromkeys(key, statistics.rule)
        return {name: kinds[name] for name in trainable(self.model)}

    def state_dict(self) -> dict[str, Any]:
        """Averages, counters and the generator's state: what it takes to go on bit for bit."""
        return {
            "settings": dict(self.settings),
            "updates": self.updates,
            "basis_made": self._basis_made,
            "weight": self._weight,
            "generator": self.generator.get_state(),
            "statistics": {
                key: (_clones(found.averages), _clones(found.bases))
                for key, found in self._statistics.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one, of a model of the same tensors, was when it gave its state.

        Raises ValueError where the tensors or the settings are not the same; nothing is changed.
        """
        names = "settings", "updates", "basis_made", "weight", "generator", "statistics"
        check_state(self.settings, state, names)
        saved, found = state["statistics"], dict(self._statistics)
        for key in [key for key in found if key not in saved]:
            _take_layer(found, key, trainable(self.model))
        own = {key: (each.averages, each.bases) for key, each in found.items()}
        mine, theirs = _shapes(own), _shapes(saved)
        for key in {**mine, **theirs}:
            if mine.get(key) != theirs.get(key):
                raise ValueError(
                    f"state must be of a model of the same tensors; for {', '.join(key)} it has "
                    f"{theirs.get(key, 'nothing')}, not {mine.get(key, 'anything')}"
                )
        for key, parts in own.items():
            for part, other in zip(parts, saved[key], strict=True):
                for name, value in other.items():
                    part[name].copy_(value)
        self._statistics = found
        self.updates, self._basis_made = state["updates"], state["basis_made"]
        self._weight = state["weight"]
        self.generator.set_state(state["generator"].cpu())

    def _theta(self) -> dict[str, Tensor]:
        """The trainable parameters. Raises RuntimeError where they are others than at first."""
        theta = trainable(self.model)
        known = {name for key in self._statistics for name in key}
        if changed := sorted(known ^ set(theta)):
            raise RuntimeError(
                "the trainable parameters of model must stay those that EKFAC was made for; "
                f"{', '.join(changed)} changed. Make a new EKFAC"
            )
        return theta

    def _assign_rules(self) -> None:
        function = live_function(self.model)
        theta = function.parameters
        if not theta:
            raise ValueError("model has no trainable parameters (none has requires_grad=True)")
        layers = known_layers(function)
        _require_room(layers, theta)
        for layer in layers:
            self._statistics[tuple(layer.names)] = empty_statistics(layer, theta)
        covered = {name for key in self._statistics for name in key}
        rest = [name for name in theta if name not in covered]
        self._require_rules(rest)
        for name in rest:
            self._statistics[name,] = tensor_statistics(name, theta)

    def _require_rules(self, without: Sequence[str]) -> None:
        if without and not self.allow_diagonal:
            raise ValueError(
                f"no rule for {', '.join(_with_owner(self.model, name) for name in without)}; "
                f"layers with a rule are {KNOWN}, where they alone read their tensors. "
                "allow_diagonal=True gives all others the diagonal of F"
            )

    @full_float32()
    def _look(self, parts: Sequence[Samples]) -> None:
        """One look at a batch: factors, a new basis if it is due, scalings."""
        self._theta()
        if not sum(len(part) for part in parts):
            raise ValueError("x must hold at least one sample; got none")
        first = not self._weight
        weight = self.decay * self._weight + 1
        with preserved_random_state():
            if first:
                self._check_layers(parts[0])
            if first or self.updates - self._basis_made >= self.basis_every:
                self._average(parts, _FACTORS, 1 / weight)
                for statistics in self._statistics.values():
                    statistics.refresh()
                self._average(parts, _SCALINGS, 1 / weight)
                self._basis_made = self.updates
            else:
                self._average(parts, _FACTORS + _SCALINGS, 1 / weight)
        self._weight = weight

    def _average(self, parts: Sequence[Samples], names: tuple[str, ...], rate: float) -> None:
        """Some averages moved towards the means over all samples, of all parts and processes."""
        for statistics in self._statistics.values():
            statistics.open(names)
        for part in parts:
            self._add(part)
        device = next(self.model.parameters()).device
        count = torch.tensor(float(sum(len(part) for part in parts)), device=device)
        if self.group is not None:
            sums = [total for found in self._statistics.values() for total in found.sums.values()]
            for value in (*sums, count):
                dist.all_reduce(value, group=self.group)
        for statistics in self._statistics.values():
            statistics.close(count, rate)

    def _add(self, part: Samples) -> None:
        found, rows, leaves = self._rows(part)
        for start, cotangents in enumerate(rows.split(_ROWS_AT_ONCE, dim=1)):
            derivatives = found.derivatives(cotangents)
            for statistics in self._statistics.values():
                layer = statistics.layer
                if layer is not None and layer in derivatives:
                    statistics.add(layer, found, derivatives.pop(layer), first=start == 0)
        if leaves:
            for row in rows.unbind(1):
                for name, gradient in _gradients(found.logits, row, leaves).items():
                    self._statistics[name,].add_probe(gradient)

    def _rows(
        self, part: Samples
    ) -> tuple[Capture, Float[Tensor, "samples rows classes"], dict[str, Tensor]]:
        """A forward pass, its rows with random signs, and the tensors without a layer as leaves."""
        function = live_function(self.model)
        layers = [s.layer for s in self._statistics.values() if s.layer is not None]
        alone = [key[0] for key, s in self._statistics.items() if s.layer is None]
        leaves = {name: function.parameters[name].requires_grad_(True) for name in alone}
        found = live_capture(function, part, layers, self.likelihood)
        logits = found.logits.detach().double()
        targets = self.likelihood.targets(part.labels, logits) if len(part.labels) else None
        rows = self.labels(self.likelihood, logits, targets, self.generator)
        signs = 2 * torch.randint(0, 2, rows.shape[:2], generator=self.generator) - 1
        return found, (rows * signs[:, :, None].to(rows)).to(found.logits), leaves

    def _check_layers(self, part: Samples) -> None:
        """Layers whose calls do not tell their gradient are refused, or lose their layer."""
        found, rows, _ = self._rows(part)
        ones = torch.ones(len(rows)) if has_batch_statistics(self.model) else None
        told = faithful(found, rows[:, :1], ones)
        untold = [
            key
            for key, statistics in self._statistics.items()
            if statistics.layer is not None and statistics.layer not in told
        ]
        self._require_rules([name for key in untold for name in key])
        for key in untold:
            _take_layer(self._statistics, key, trainable(self.model))


def _require_room(layers: Sequence[KroneckerLayer], theta: Mapping[str, Tensor]) -> None:
    """Refuse, with the largest layer, what the device has no memory for."""
    if not layers:
        return
    sizes = {layer.names[0]: held_bytes(layer, theta) for layer in layers}
    largest = max(sizes, key=lambda name: sizes[name])
    require_memory(
        sum(sizes.values()) + max(map(passing_bytes, layers)),
        available_memory(next(iter(theta.values())).device),
        f"EKFAC of {len(layers)} layers, {readable(sizes[largest])} of it for {largest},",
        f"leave tensors out, as with {largest}.requires_grad_(False), or give IGS a preconditioner "
        "of your own",
    )


def _take_layer(
    statistics: dict[tuple[str, ...], LayerStatistics],
    key: tuple[str, ...],
    theta: Mapping[str, Tensor],
) -> None:
    """Make a layer's tensors ones without a layer."""
    del statistics[key]
    for name in key:
        statistics[name,] = tensor_statistics(name, theta)


def _gradients(
    logits: Tensor, row: Float[Tensor, "samples classes"], leaves: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    found = torch.autograd.grad(
        logits, list(leaves.values()), row, retain_graph=True, materialize_grads=True
    )
    return dict(zip(leaves, found, strict=True))


def _with_owner(model: nn.Module, name: str) -> str:
    owner = model.get_submodule(name.rpartition(".")[0])
    return f"{name} ({type(owner).__name__})"


def _clones(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in named.items()}


def _shapes(state: Mapping[Any, tuple[dict[str, Tensor], ...]]) -> dict[Any, list[Any]]:
    return {
        key: [{name: tuple(value.shape) for name, value in part.items()} for part in parts]
        for key, parts in state.items()
    }

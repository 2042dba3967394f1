"""The problem: one frozen object that holds everything a measure needs.

A logit function with its θ, the samples, and a likelihood, checked once: logits are finite and
(N, C), the forward pass is deterministic, and a sample's logits do not depend on the others.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex, TypedDict, Unpack

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from igsref.arguments import check_dense, checked_integer
from igsref.data import Samples, collect, is_one_shot
from igsref.likelihoods import Categorical, Likelihood, find_likelihood
from igsref.model import (
    LogitFunction,
    LogitPicker,
    LogitsError,
    logit_function,
    placed_model,
    working_device,
)
from igsref.pool import multiplicity, pooled
from igsref.precision import PrecisionError, RefuseLowerPrecision
from igsref.randomness import advance_random_state, preserved_random_state

_FORWARD_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Problem:
    """Model, data and likelihood, ready to be measured; make one with :func:`as_problem`.

    samples: the inputs of the pool that F is a mean over, N_F of them, and N labels.
    members: which of them the labelled samples are, (N,); all in order unless a pool was given.
    logits: (N_F, C), targets: (N, C), in the function's dtype (float64 unless said otherwise).
    known_rank: an upper bound on the rank of F that the user knows, if any.
    """

    function: LogitFunction
    samples: Samples
    likelihood: Likelihood
    logits: Float[Tensor, "pool classes"]
    targets: Float[Tensor, "samples classes"]
    members: Int64[Tensor, " samples"]
    known_rank: int | None = None

    @property
    def num_samples(self) -> int:
        """N, the number of labelled samples."""
        return len(self.targets)

    @property
    def pool_size(self) -> int:
        """N_F, the number of inputs that F is a mean over; N unless a pool was given."""
        return len(self.samples)

    @property
    def has_pool(self) -> bool:
        """Whether F is a mean over other inputs than the labelled ones, or over them reordered."""
        return not torch.equal(self.members.cpu(), torch.arange(self.pool_size))

    @property
    def weight(self) -> float:
        """N_F/N: IGS = (N_F/N) Σ ‖P v_i‖²."""
        return self.pool_size / self.num_samples

    @property
    def labelled_logits(self) -> Float[Tensor, "samples classes"]:
        """Logits of the labelled samples, (N, C)."""
        return self.logits[self.members]

    @property
    def num_classes(self) -> int:
        """C, the number of logits of a sample."""
        return self.logits.shape[1]

    @property
    def num_parameters(self) -> int:
        """m, the number of chosen parameters."""
        return self.function.parameter_count

    @property
    def rows_per_sample(self) -> int:
        """R, the rows that a sample adds to the reduced factor (C−1 for the categorical)."""
        return self.likelihood.contrast(self.logits[:1]).shape[1]

    @property
    def num_rows(self) -> int:
        """Rows of the reduced factor, N_F·R."""
        return self.pool_size * self.rows_per_sample

    def residuals(self) -> Float[Tensor, "samples rows"]:
        """Whitened residuals v_i of the labelled samples, g_i = v_iᵀ A_i."""
        return self.likelihood.residual(self.labelled_logits, self.targets)

    def multiplicity(self) -> Int64[Tensor, " samples"]:
        """How often each labelled input is in the pool, bit for bit."""
        return multiplicity(self.samples, self.members.cpu()).to(self.members.device)

    def at(self, theta: Mapping[str, Tensor]) -> Float[Tensor, "pool classes"]:
        """Logits of the whole pool at another θ of the same names and shapes."""
        return _forward(self.function, self.samples, theta)

    def restricted(self, names: Collection[str]) -> "Problem":
        """The same problem with some of its parameters: its IGS is a lower bound of this one's.

        Raises ValueError where none of them is named.
        """
        return replace(self, function=self.function.restricted(names))

    def astype(self, dtype: torch.dtype) -> "Problem":
        """The same problem in another floating-point type, logits evaluated there."""
        function = self.function.source(dtype)
        samples = _cast_samples(self.samples, dtype)
        logits = _forward(function, samples, function.parameters)
        return replace(
            self,
            function=function,
            samples=samples,
            logits=logits,
            targets=self.targets.to(dtype),
        )


class ProblemOptions(TypedDict, total=False):
    """What may be said about a model and its data, wherever the two are taken.

    likelihood: "categorical" (the default), "bernoulli", "gaussian" or a ``Likelihood``.
    parameters: name pattern(s) choosing a subset of the trainable parameters.
    logits: where the logits are in a structured output.
    fisher_data: inputs that F is a mean over, without labels; the labelled ones are appended.
    members: rows of fisher_data that the labelled inputs are, (N,), where it holds them.
    rank_bound: a number that the rank of F is known not to exceed.
    device: where to compute, "cuda" say; copies of model and data go there. Where they are, which
        must be one place, unless given.
    """

    likelihood: str | Likelihood
    parameters: str | Sequence[str] | None
    logits: LogitPicker
    fisher_data: Any
    members: Tensor | None
    rank_bound: SupportsIndex | None
    device: str | torch.device | None


def as_problem(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> Problem:
    """Model and data as a problem in float64, on a copy; a Problem comes back as it is.

    model: any ``nn.Module`` in evaluation mode, a pair (function, params) called as
        ``function(params, x)``, or a Problem or Geometry, which holds its data and options.
    data: a pair (x, y), a mapping with ``labels``, or an iterable of such batches. A loader that
        shuffles gives the samples, and so all numbers per sample, in another order each time.
    options: see :class:`ProblemOptions`.

    Raises TypeError or ValueError that names the argument, what came and what was expected.
    """
    model = _held_problem(model)
    if not isinstance(model, Problem):
        _check_options(options)
        if data is None:
            raise TypeError("data is missing: give (model, data), or a Problem alone")
        return _problem(model, data, **options)
    if data is not None or options:
        raise TypeError(
            "a Problem already holds its data and options; got "
            f"{', '.join(['data'] * (data is not None) + list(options))} beside it"
        )
    return model


def _held_problem(model: Any) -> Any:
    """The problem that a Geometry, say, was made of; anything else as it is."""
    held = getattr(model, "problem", None)
    return held if isinstance(held, Problem) else model


def _check_options(options: Mapping[str, Any]) -> None:
    known = list(ProblemOptions.__annotations__)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}; the options are {', '.join(known)}")


def _problem(
    model: Any,
    data: Any,
    *,
    likelihood: str | Likelihood = "categorical",
    parameters: str | Sequence[str] | None = None,
    logits: LogitPicker = None,
    fisher_data: Any = None,
    members: Tensor | None = None,
    rank_bound: SupportsIndex | None = None,
    device: str | torch.device | None = None,
) -> Problem:
    place = None if device is None else _checked_device(device)
    known = None if rank_bound is None else checked_integer("rank_bound", rank_bound, least=0)
    chosen = find_likelihood(likelihood)
    placed = model if place is None else placed_model(model, place)
    function = logit_function(placed, parameters=parameters, logits=logits)
    labelled = collect(data)
    if place is None:
        _check_device(function, labelled)
    _check_inputs(labelled)
    samples, rows = pooled(labelled, fisher_data, members)
    if place is not None:
        samples = samples.to(place)
    _check_inputs(samples, " of fisher_data")
    samples = _cast_samples(samples, torch.float64)

    def check_first(part: Tensor) -> None:
        _check_logits(part)
        chosen.check_logits(part)
        # Only shape, dtype and device matter to the labels, so nothing need be waited for.
        chosen.targets(samples.labels, part[:1].expand(len(rows), -1))

    values = _forward(function, samples, function.parameters, check_first)
    _check_logits(values)
    _check_deterministic(function, samples, values)
    _check_independent(function, samples, values)
    _check_precision(function, samples)
    chosen.check_logits(values)
    _warn_of_probabilities(chosen, values)
    rows = rows.to(values.device)
    targets = chosen.targets(samples.labels, values[rows])
    return Problem(function, samples, chosen, values, targets, rows, known)


def refuse_one_shot(data: Any, caller: str, name: str = "data") -> None:
    """Refuse an iterator where reading it would leave nothing for the call that follows."""
    if is_one_shot(data):
        raise ValueError(
            f"{name} is an iterator that can be read only once, and {caller} would use it up; "
            "give a list of its batches, or make it a Problem once: igsref.as_problem(model, data)"
        )


def _forward(
    function: LogitFunction,
    samples: Samples,
    theta: Mapping[str, Tensor],
    check_first: Callable[[Tensor], None] | None = None,
) -> Float[Tensor, "samples classes"]:
    """Logits chunk by chunk; check_first sees those of the first before the others are made."""
    parts: list[Tensor] = []
    dtype = next(iter(theta.values())).dtype
    with torch.no_grad(), preserved_random_state():
        for start in range(0, len(samples), _FORWARD_CHUNK):
            chunk = samples.inputs(slice(start, start + _FORWARD_CHUNK))
            where = "first batch of data" if start == 0 else f"samples of data from {start} on"
            parts.append(_evaluated(function, theta, chunk, where))
            _check_chunk(parts[-1], min(_FORWARD_CHUNK, len(samples) - start))
            _check_place(parts[-1], dtype, function.device)
            if start == 0 and check_first is not None:
                check_first(parts[0])
    return torch.cat(parts)


def _evaluated(
    function: LogitFunction,
    theta: Mapping[str, Tensor],
    inputs: tuple[tuple[Tensor, ...], dict[str, Tensor]],
    where: str,
) -> Tensor:
    """Logits of some inputs; what the model raises, with a word on where."""
    try:
        return function.call(theta, *inputs)
    except (LogitsError, PrecisionError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        args, kwargs = inputs
        bytes_given = any(value.dtype == torch.uint8 for value in (*args, *kwargs.values()))
        hint = ". Inputs are uint8: scale them as in training, x / 255.0 say" if bytes_given else ""
        raise ValueError(
            f"model could not be evaluated on the {where}: {type(error).__name__}: {error}{hint}"
        ) from error


def _check_chunk(logits: Tensor, expected: int, classes: int | None = None) -> None:
    """(N, C) logits of so many samples, and of as many classes as before, where that is known."""
    check_dense("the logits that model returns", logits)
    if (
        logits.ndim != 2
        or len(logits) != expected
        or logits.shape[1] == 0
        or classes not in (None, logits.shape[1])
    ):
        raise ValueError(
            f"model must return logits of shape (N, C), here ({expected}, {classes or 'C'}); "
            f"got {tuple(logits.shape)}"
        )


def _check_place(logits: Tensor, expected: torch.dtype, device: torch.device) -> None:
    """The dtype and the device that θ and the inputs are in."""
    if logits.device != device:
        raise ValueError(
            f"model must return logits on {device}, where its parameters are; got {logits.device}"
        )
    if logits.dtype != expected:
        raise TypeError(
            f"model must return {expected} logits where its parameters and inputs are; "
            f"got {logits.dtype}. Take the cast out of its forward pass: it loses digits"
        )


def _check_logits(logits: Float64[Tensor, "samples classes"]) -> None:
    bad = (~torch.isfinite(logits)).nonzero()
    if bad.numel():
        sample, column = bad[0].tolist()
        raise ValueError(
            f"logits must be finite; logits[{sample}, {column}] is "
            f"{float(logits[sample, column])} ({len(bad)} of {logits.numel()} are not)"
        )


def _warn_of_probabilities(
    likelihood: Likelihood, logits: Float64[Tensor, "samples classes"]
) -> None:
    """A softmax of a softmax is another model, and seldom the one that was trained.

    C probabilities, each rounded, sum to 1 within C/2 of their spacing, u, and the sum adds C more.
    """
    classes = logits.shape[1]
    constant = bool((logits == logits[:1]).all())
    if type(likelihood) is not Categorical or classes < 2 or constant:
        return
    allowed = 2 * classes * torch.finfo(logits.dtype).eps
    if bool((logits >= 0).all()) and float((logits.sum(dim=1) - 1).abs().max()) <= allowed:
        warnings.warn(
            "model returns probabilities: in every row they are not negative and sum to 1. They "
            "are taken for logits here, and a softmax is applied to them. Leave out the last "
            "softmax of the model, or return its logarithm, log_softmax, instead",
            RuntimeWarning,
            stacklevel=2,
        )


def _tolerance(logits: Tensor) -> float:
    """√u of the largest logit: rounding in another order stays far below, an effect above."""
    return torch.finfo(logits.dtype).eps ** 0.5 * max(1.0, float(logits.abs().max()))


def _check_deterministic(function: LogitFunction, samples: Samples, logits: Tensor) -> None:
    chunk = samples.inputs(slice(0, _FORWARD_CHUNK))
    with torch.no_grad(), preserved_random_state():
        advance_random_state()  # another state than the first pass saw
        again = _evaluated(function, function.parameters, chunk, "same batch of data again")
    _check_chunk(again, min(_FORWARD_CHUNK, len(logits)), logits.shape[1])
    difference = float((again - logits[: len(again)]).abs().max())
    if not difference <= _tolerance(logits):
        raise ValueError(
            "model must be deterministic; two forward passes over the same batch differ by "
            f"{difference:.3g}"
        )


def _check_independent(function: LogitFunction, samples: Samples, logits: Tensor) -> None:
    """One sample alone against the same in its batch, and the batch against itself reversed."""
    for sample in sorted({0, min(len(samples), _FORWARD_CHUNK) - 1}):
        alone = slice(sample, sample + 1)
        value = _alone(function, samples, sample, logits.shape[1])
        difference = float((value - logits[alone]).abs().max())
        if not difference <= _tolerance(logits):
            raise ValueError(
                "model's output for a sample must not depend on the other samples of the batch; "
                f"sample {sample} alone and in its batch differ by {difference:.3g} "
                "(batch statistics in a normalisation layer?)"
            )
    _check_order(function, samples, logits)


def _check_order(function: LogitFunction, samples: Samples, logits: Tensor) -> None:
    """The first chunk in reversed order: it shows a sample's neighbours, wherever they are."""
    count = min(len(samples), _FORWARD_CHUNK)
    backwards = torch.arange(count - 1, -1, -1, device=logits.device)
    chunk = samples.inputs(backwards)
    with torch.no_grad(), preserved_random_state():
        value = _evaluated(function, function.parameters, chunk, "first batch of data reversed")
    _check_chunk(value, count, logits.shape[1])
    difference = (value - logits[backwards]).abs().amax(dim=1)
    worst = int(difference.argmax())
    if not float(difference[worst]) <= _tolerance(logits):
        raise ValueError(
            "model's output for a sample must not depend on the other samples of the batch; "
            f"sample {count - 1 - worst} in its batch and in the same batch reversed differ by "
            f"{float(difference[worst]):.3g}"
        )


def _check_precision(function: LogitFunction, samples: Samples) -> None:
    """No cast below float64 on the way from θ and the inputs to the logits of one sample."""
    args, kwargs = inputs = samples.inputs(slice(0, 1))
    followed = [*function.parameters.values(), *args, *kwargs.values()]
    with torch.no_grad(), preserved_random_state(), RefuseLowerPrecision(followed):
        _evaluated(function, function.parameters, inputs, "first sample of data")


def _alone(function: LogitFunction, samples: Samples, sample: int, classes: int) -> Tensor:
    """Logits of one sample, evaluated in a batch of its own."""
    inputs = samples.inputs(slice(sample, sample + 1))
    try:
        with torch.no_grad(), preserved_random_state():
            value = function.call(function.parameters, *inputs)
    except Exception as error:
        raise ValueError(
            f"model must evaluate a sample alone; sample {sample} in a batch of its own raised "
            f"{type(error).__name__}: {error} (batch statistics in a normalisation layer?)"
        ) from error
    _check_chunk(value, 1, classes)
    return value


def _checked_device(device: Any) -> torch.device:
    """The device, if this torch can put numbers there. Raises TypeError or ValueError."""
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device must be a torch.device, or the name of one; got {device!r}")
    try:
        return working_device(torch.empty(0, device=device).device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # what torch raises here
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be one that is there; got {device!r}: {reason}") from None


def _check_device(function: LogitFunction, samples: Samples) -> None:
    for name, value in {**samples.named_inputs(), "labels": samples.labels}.items():
        if working_device(value.device) != function.device:
            raise ValueError(
                f"{name} is on {value.device}, the model on {function.device}; "
                "move one to the other"
            )


def _check_inputs(samples: Samples, where: str = "") -> None:
    """Inputs are real, and finite."""
    for name, value in samples.named_inputs().items():
        if value.is_complex():
            raise TypeError(f"inputs must be real; {name} has dtype {value.dtype}")
        if not value.is_floating_point():
            continue
        bad = (~torch.isfinite(value)).nonzero()
        if bad.numel():
            place = bad[0].tolist()
            raise ValueError(
                f"inputs must be finite; {name}{place}{where} is {value[*place].item()} "
                f"({len(bad)} of {value.numel()} are not)"
            )


def _cast_samples(samples: Samples, dtype: torch.dtype) -> Samples:
    """Floating-point inputs in that dtype; integers (token ids, masks) as they are."""

    def cast(value: Tensor) -> Tensor:
        value = value.detach().to(working_device(value.device))
        return value.to(dtype) if value.is_floating_point() else value

    return Samples(
        tuple(cast(value) for value in samples.args),
        {key: cast(value) for key, value in samples.kwargs.items()},
        samples.labels.to(working_device(samples.labels.device)),
    )

"""The problem: one frozen object that holds everything a measure needs.

A logit function with its θ, the samples, and a likelihood, checked once: logits are finite and
(N, C), the forward pass is deterministic, and a sample's logits do not depend on the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from igsref.data import Samples, collect, is_one_shot
from igsref.likelihoods import Likelihood, find_likelihood
from igsref.model import LogitFunction, LogitPicker, logit_function, working_device
from igsref.randomness import advance_random_state, preserved_random_state

_FORWARD_CHUNK = 256


@dataclass(frozen=True)
class Problem:
    """Model, data and likelihood, ready to be measured; make one with :func:`as_problem`.

    logits: (N, C), targets: (N, C), in the function's dtype (float64 unless said otherwise).
    """

    function: LogitFunction
    samples: Samples
    likelihood: Likelihood
    logits: Float[Tensor, "samples classes"]
    targets: Float[Tensor, "samples classes"]

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.samples)

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
        """Rows of the reduced factor, N·R."""
        return self.num_samples * self.rows_per_sample

    def residuals(self) -> Float[Tensor, "samples rows"]:
        """Whitened residuals v_i, g_i = v_iᵀ A_i."""
        return self.likelihood.residual(self.logits, self.targets)

    def at(self, theta: Mapping[str, Tensor]) -> Float[Tensor, "samples classes"]:
        """Logits of all samples at another θ of the same names and shapes."""
        return _forward(self.function, self.samples, theta)

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
    """

    likelihood: str | Likelihood
    parameters: str | Sequence[str] | None
    logits: LogitPicker


def as_problem(model: Any, data: Any = None, **options: Unpack[ProblemOptions]) -> Problem:
    """Model and data as a problem in float64, on a copy; a Problem comes back as it is.

    model: any ``nn.Module`` in evaluation mode, a pair (function, params) called as
        ``function(params, x)``, or a Problem, which holds its data and options already.
    data: a pair (x, y), a mapping with ``labels``, or an iterable of such batches.
    options: see :class:`ProblemOptions`.

    Raises TypeError or ValueError that names the argument, what came and what was expected.
    """
    if not isinstance(model, Problem):
        if data is None:
            raise TypeError("data is missing: give (model, data), or a Problem alone")
        return _problem(model, data, **options)
    if data is not None or options:
        raise TypeError(
            "a Problem already holds its data and options; got "
            f"{', '.join(['data'] * (data is not None) + list(options))} beside it"
        )
    return model


def _problem(
    model: Any,
    data: Any,
    *,
    likelihood: str | Likelihood = "categorical",
    parameters: str | Sequence[str] | None = None,
    logits: LogitPicker = None,
) -> Problem:
    chosen = find_likelihood(likelihood)
    function = logit_function(model, parameters=parameters, logits=logits)
    samples = collect(data)
    _check_device(function, samples)
    _check_finite_inputs(samples)
    samples = _cast_samples(samples, torch.float64)
    values = _forward(function, samples, function.parameters)
    _check_logits(values, len(samples))
    _check_deterministic(function, samples, values)
    _check_independent(function, samples, values)
    chosen.check_logits(values)
    return Problem(function, samples, chosen, values, chosen.targets(samples.labels, values))


def refuse_one_shot(data: Any, caller: str) -> None:
    """Refuse an iterator where reading it would leave nothing for the call that follows."""
    if is_one_shot(data):
        raise ValueError(
            f"data is an iterator that can be read only once, and {caller} would use it up; "
            "give a list of its batches, or make it a Problem once: igsref.as_problem(model, data)"
        )


def _forward(
    function: LogitFunction, samples: Samples, theta: Mapping[str, Tensor]
) -> Float[Tensor, "samples classes"]:
    parts = []
    dtype = next(iter(theta.values())).dtype
    with torch.no_grad(), preserved_random_state():
        for start in range(0, len(samples), _FORWARD_CHUNK):
            parts.append(
                function.call(theta, *samples.inputs(slice(start, start + _FORWARD_CHUNK)))
            )
            _check_chunk(parts[-1], min(_FORWARD_CHUNK, len(samples) - start))
            _check_dtype(parts[-1], dtype)
    return torch.cat(parts)


def _check_chunk(logits: Tensor, expected: int) -> None:
    if logits.ndim != 2 or len(logits) != expected or logits.shape[1] == 0:
        raise ValueError(
            f"model must return logits of shape (N, C), here ({expected}, C); "
            f"got {tuple(logits.shape)}"
        )


def _check_dtype(logits: Tensor, expected: torch.dtype) -> None:
    if logits.dtype != expected:
        raise TypeError(
            f"model must return {expected} logits where its parameters and inputs are; "
            f"got {logits.dtype}. Take the cast out of its forward pass: it loses digits"
        )


def _check_logits(logits: Float64[Tensor, "samples classes"], count: int) -> None:
    bad = (~torch.isfinite(logits)).nonzero()
    if bad.numel():
        sample, column = bad[0].tolist()
        raise ValueError(
            f"logits must be finite; logits[{sample}, {column}] is "
            f"{float(logits[sample, column])} ({len(bad)} of {logits.numel()} are not)"
        )


def _tolerance(logits: Tensor) -> float:
    """√u of the largest logit: rounding in another order stays far below, an effect above."""
    return torch.finfo(logits.dtype).eps ** 0.5 * max(1.0, float(logits.abs().max()))


def _check_deterministic(function: LogitFunction, samples: Samples, logits: Tensor) -> None:
    with torch.no_grad(), preserved_random_state():
        advance_random_state()  # another state than the first pass saw
        again = function.call(function.parameters, *samples.inputs(slice(0, _FORWARD_CHUNK)))
    difference = float((again - logits[: len(again)]).abs().max())
    if not difference <= _tolerance(logits):
        raise ValueError(
            "model must be deterministic; two forward passes over the same batch differ by "
            f"{difference:.3g}"
        )


def _check_independent(function: LogitFunction, samples: Samples, logits: Tensor) -> None:
    """One sample alone against the same in its batch."""
    for sample in sorted({0, min(len(samples), _FORWARD_CHUNK) - 1}):
        alone = slice(sample, sample + 1)
        value = _alone(function, samples, sample)
        difference = float((value - logits[alone]).abs().max())
        if not difference <= _tolerance(logits):
            raise ValueError(
                "model's output for a sample must not depend on the other samples of the batch; "
                f"sample {sample} alone and in its batch differ by {difference:.3g} "
                "(batch statistics in a normalisation layer?)"
            )


def _alone(function: LogitFunction, samples: Samples, sample: int) -> Tensor:
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
    _check_chunk(value, 1)
    return value


def _check_device(function: LogitFunction, samples: Samples) -> None:
    for name, value in {**samples.named_inputs(), "labels": samples.labels}.items():
        if working_device(value.device) != function.device:
            raise ValueError(
                f"{name} is on {value.device}, the model on {function.device}; "
                "move one to the other"
            )


def _check_finite_inputs(samples: Samples) -> None:
    for name, value in samples.named_inputs().items():
        if not (value.is_floating_point() or value.is_complex()):
            continue
        bad = (~torch.isfinite(value)).nonzero()
        if bad.numel():
            where = bad[0].tolist()
            raise ValueError(
                f"inputs must be finite; {name}{where} is {value[*where].item()} "
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

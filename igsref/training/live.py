"""The model as it is trained, in its mode and dtype, as a function that EKFAC's capture reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from igsref.arguments import described
from igsref.curvature.kfac.capture import Capture, capture
from igsref.curvature.kfac.layers import KroneckerLayer
from igsref.data import Samples
from igsref.likelihoods import Likelihood
from igsref.model import LogitFunction
from igsref.problem import Problem


def bare(model: nn.Module) -> nn.Module:
    """The model inside of a ``DistributedDataParallel``; any other one as it is."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def process_group(model: nn.Module) -> Any:
    """Of a ``DistributedDataParallel``; None of any other model."""
    return model.process_group if isinstance(model, DistributedDataParallel) else None


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """θ: the values, in place, of all parameters that ask for a gradient, each once."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def samples_of(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], labels: Tensor | None = None
) -> Samples:
    """What the model is called with as samples, without a graph; None among it is left out.

    Raises TypeError for what is no tensor.
    """
    given = {name: value for name, value in kwargs.items() if value is not None}
    for value in (*args, *given.values()):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"EKFAC needs a model that is called with tensors alone; got {described(value)}"
            )
    return Samples(
        tuple(value.detach() for value in args),
        {name: value.detach() for name, value in given.items()},
        torch.empty(0) if labels is None else labels,
    )


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether some BatchNorm takes its batch's mean and variance, so that samples depend."""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        and (module.training or module.running_mean is None)
        for module in model.modules()
    )


def live_function(model: nn.Module) -> LogitFunction:
    """θ ↦ logits by the model itself, with copies of its buffers, which a call may change."""

    def evaluate(
        values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        return torch.func.functional_call(model, dict(values), args, kwargs)

    def build(dtype: torch.dtype | None) -> LogitFunction:
        theta = {name: value.to(dtype or value.dtype) for name, value in trainable(model).items()}
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        count = sum(value.numel() for value in theta.values())
        return LogitFunction(evaluate, theta, buffers, build, count, None, model)

    return build(None)


def live_capture(
    function: LogitFunction,
    samples: Samples,
    layers: Sequence[KroneckerLayer],
    likelihood: Likelihood,
) -> Capture:
    """A forward pass of a batch with what layers read, the logits checked.

    Raises TypeError or ValueError for what are no (N, C) logits, or not the likelihood's;
    FloatingPointError, with the sample, for logits that are not finite.
    """
    none = torch.empty(0, 1)
    problem = Problem(function, samples, likelihood, none, none, torch.empty(0).long())
    found = capture(problem, layers)
    if not isinstance(found.logits, Tensor):
        raise TypeError(
            f"model must return logits as a tensor; got {type(found.logits).__name__}. Wrap it in "
            "a module that returns them alone"
        )
    if found.logits.ndim != 2 or len(found.logits) != len(samples):
        raise ValueError(
            f"model must return logits of shape (N, C), here ({len(samples)}, C); "
            f"got {tuple(found.logits.shape)}"
        )
    finite = found.logits.isfinite().all(dim=1)
    if not bool(finite.all()):
        raise FloatingPointError(
            f"the logits of sample {int(finite.int().argmin())} are not finite"
        )
    likelihood.check_logits(found.logits)
    return found

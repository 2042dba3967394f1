"""What exact arithmetic takes, from sizes alone, and what is refused before it starts.

Seconds are of one core, to within a factor of about three, with fixed constants: plans must not
change from run to run.
"""

from collections import Counter

import torch

from igsref.exact.network import is_piecewise_rational
from igsref.exact.steps import AFFINE
from igsref.problem import Problem

MOST_ROWS = 1500
"""Of a piecewise-linear network's reduced factor: K has their square, of hundreds of bits each."""
MOST_ROWS_IN_BALLS = 400
"""The same where K is in balls, at one precision after the other."""
MOST_PRODUCTS = 2e9
"""In the passes forwards and back."""
MOST_ENTRIES = 3e7
"""Of gradients that are multiplied out, 130 bytes each: of convolutions and shared tensors."""
_SECONDS_PER_PRODUCT = 5e-7
_SECONDS_PER_ENTRY = 3e-6
_SECONDS_PER_EXPLICIT = 1e-6
_SECONDS_PER_GRAM = 1e-8


def linearisation_seconds(problem: Problem) -> float:
    """Of the exact logits, Jacobian and K of a supported problem."""
    layers, n = problem.function.layers or (), problem.num_rows
    tensors = sum(layer.weight is not None for layer in layers)
    return (
        products(problem) * _SECONDS_PER_PRODUCT
        + n**2 * max(1, tensors) * _SECONDS_PER_ENTRY
        + entries(problem) * (_SECONDS_PER_EXPLICIT + n * _SECONDS_PER_GRAM)
    )


def products(problem: Problem) -> float:
    """Products of numbers in one pass forwards and, for every row of a sample, two back."""
    layers = problem.function.layers or ()
    value = problem.samples.args[0][:1].double()
    each = 0.0
    with torch.no_grad():
        for layer in layers:
            weight = getattr(layer.module, "weight", None)
            after = torch.func.functional_call(
                layer.module, {k: v.double() for k, v in _tensors(layer.module).items()}, value
            )
            if type(layer.module) in AFFINE and weight is not None:
                each += weight.numel() * after.numel() / len(weight)
            else:
                each += after.numel()
            value = after
    return problem.pool_size * (1 + 2 * problem.rows_per_sample) * each


def entries(problem: Problem) -> int:
    """Numbers in gradients that are multiplied out, of all rows; those of linear layers are not."""
    layers = problem.function.layers or ()
    uses = Counter(layer.weight for layer in layers)
    theta = problem.function.parameters
    own = {
        layer.weight
        for layer in layers
        if layer.weight in theta
        and (type(layer.module) is not torch.nn.Linear or uses[layer.weight] > 1)
    }
    return problem.num_rows * sum(theta[name].numel() for name in own if name is not None)


def _tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value for name, value in named.items() if value.is_floating_point()}


def require_affordable(problem: Problem) -> None:
    """Raise ValueError, with the sizes, where K has too many rows or the passes take too long."""
    most = MOST_ROWS if is_piecewise_rational(problem) else MOST_ROWS_IN_BALLS
    advice = "Choose fewer samples, or igsref.exact_igs, whose bracket is proven in float64"
    if problem.num_rows > most:
        raise ValueError(
            f"exact arithmetic takes at most {most} rows N·R of this kind of network's reduced "
            f"factor; there are {problem.num_rows} (N_F = {problem.pool_size}, "
            f"R = {problem.rows_per_sample}). {advice}"
        )
    if (needed := products(problem)) > MOST_PRODUCTS:
        raise ValueError(
            f"exact arithmetic makes at most {MOST_PRODUCTS:.0e} products; this network takes "
            f"{needed:.1e} (N_F = {problem.pool_size}, R = {problem.rows_per_sample}, "
            f"m = {problem.num_parameters}). {advice}"
        )
    if (held := entries(problem)) > MOST_ENTRIES:
        raise ValueError(
            f"exact arithmetic multiplies out at most {MOST_ENTRIES:.0e} entries of gradients of "
            f"convolutions and shared tensors; here are {held:.1e} ({problem.num_rows} rows, "
            f"m = {problem.num_parameters}). {advice}"
        )

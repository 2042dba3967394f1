"""A sequential network in exact arithmetic: its logits, and the Gram matrix K = D Dᵀ of its rows.

D has the rows K_i J_i of the reduced factor before any probability comes in (class differences,
for the categorical); K of n × n numbers holds all that IGS and the rank need: range K = range D.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from flint import arb
from torch import nn

from igsref.exact.arithmetic import Arithmetic, Array
from igsref.exact.steps import Gradient, Outer, is_rational, objection, step
from igsref.likelihoods import Bernoulli, Categorical, Gaussian
from igsref.problem import Problem


@dataclass(frozen=True, eq=False)
class Linearised:
    """logits: (pool, classes); gram: K = D Dᵀ, (n, n); arrays of numbers of one arithmetic.

    spread: binary digits between the largest and the smallest derivative that D has, of balls; to
    see the smallest in K takes twice as many.
    """

    logits: Array
    gram: Array
    spread: int = 0


def unsupported(problem: Problem) -> str | None:
    """Why a problem has no exact arithmetic; None where it has.

    >>> import torch
    >>> from torch import nn
    >>> from igsref import as_problem
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Softplus(), nn.Linear(3, 2))
    >>> unsupported(as_problem(model, (torch.zeros(4, 2), torch.zeros(4).long())))
    'layer 1 (Softplus) has no exact arithmetic'
    """
    if type(problem.likelihood) not in (Categorical, Bernoulli, Gaussian):
        return f"the likelihood {problem.likelihood.name!r} has no exact arithmetic"
    if problem.function.layers is None:
        return _beside_layers(problem.function.module)
    inputs = problem.samples.args
    if len(inputs) != 1 or problem.samples.kwargs or not inputs[0].is_floating_point():
        return "the network's input is not one floating-point tensor"
    return _first_objection(layer.module for layer in problem.function.layers)


def _first_objection(modules: Iterable[nn.Module]) -> str | None:
    for index, module in enumerate(modules):
        if (reason := objection(module)) is not None:
            return f"layer {index} ({type(module).__name__}) {reason}"
    return None


def _beside_layers(model: nn.Module | None) -> str:
    """Why a model is not a sequence of plain layers: the layer that is not one, if there is one."""
    whole = "the model is not a sequential network of layers"
    if type(model) is not nn.Sequential:
        return whole
    return _first_objection(_in_sequence(model)) or f"{whole} alone: a hook, say, takes part"


def _in_sequence(module: nn.Module) -> Iterator[nn.Module]:
    """What (nested) ``nn.Sequential`` calls, in this order."""
    if type(module) is nn.Sequential:
        for child in module:
            yield from _in_sequence(child)
    else:
        yield module


def is_piecewise_rational(problem: Problem) -> bool:
    """Whether logits and Jacobian of a supported problem are rational numbers."""
    layers = problem.function.layers or ()
    return all(is_rational(layer.module) for layer in layers)


def linearised(problem: Problem, arithmetic: Arithmetic) -> Linearised:
    """Logits and Gram matrix of a supported problem, at the precision of the moment.

    Raises Undecided where balls do not decide a kink.
    """
    layers = problem.function.layers or ()
    steps, gradients = [], dict[str, list[Gradient]]()
    value = arithmetic.array(problem.samples.args[0].double())
    theta = {**problem.function.constants, **problem.function.parameters}
    for layer in layers:
        steps.append(step(layer, arithmetic, theta, value))
        value = steps[-1].value
    delta = arithmetic.array(problem.likelihood.contrast(problem.logits))
    rows = delta.shape[0] * delta.shape[1]
    for taken in reversed(steps):
        delta, found = taken.pull(delta)
        for name, gradient in found.items():
            if name in problem.function.parameters:
                gradients.setdefault(name, []).append(gradient)
    gram = arithmetic.zeros(rows, rows)
    for uses in gradients.values():
        gram = gram + _gram(arithmetic, uses)
    return Linearised(value, gram, 0 if arithmetic.exact else _spread(gradients.values()))


def _spread(gradients: Iterable[list[Gradient]]) -> int:
    """Between the ends of the exponents of all products in them; a ball around 0 has none."""
    ends = []
    for use in chain.from_iterable(gradients):
        factors = (use.delta, use.inputs) if isinstance(use, Outer) else (use,)
        exponents = [[_exponent(x) for x in f.flat if not x.contains(0)] for f in factors]
        if all(exponents):
            ends.append((sum(map(min, exponents)), sum(map(max, exponents))))
    return max(high for _, high in ends) - min(low for low, _ in ends) if ends else 0


def _exponent(ball: arb) -> int:
    """⌈log2 |x|⌉ of its midpoint, which is not 0."""
    mantissa, exponent = (int(part) for part in ball.mid().man_exp())
    return abs(mantissa).bit_length() + exponent


def _gram(arithmetic: Arithmetic, uses: list[Gradient]) -> Array:
    """Of one tensor: what a shared one gets from all its uses is summed before it is squared."""
    if len(uses) == 1 and isinstance(uses[0], Outer):
        return uses[0].gram(arithmetic)
    total: Array = np.add.reduce([u.explicit() if isinstance(u, Outer) else u for u in uses])
    rows = total.reshape(total.shape[0] * total.shape[1], -1)
    return arithmetic.matmul(rows, rows.T)

"""A sequential network in exact arithmetic: its logits, and the Gram matrix K = D Dᵀ of its rows.

D has the rows K_i J_i of the reduced factor before any probability comes in (class differences,
for the categorical); K of n × n numbers holds all that IGS and the rank need: range K = range D.
"""

from dataclasses import dataclass

import numpy as np

from igsref.exact.arithmetic import Arithmetic, Array
from igsref.exact.steps import Gradient, Outer, is_rational, objection, step
from igsref.likelihoods import Bernoulli, Categorical, Gaussian
from igsref.problem import Problem


@dataclass(frozen=True, eq=False)
class Linearised:
    """logits: (pool, classes); gram: K = D Dᵀ, (n, n); arrays of numbers of one arithmetic."""

    logits: Array
    gram: Array


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
        return "the model is not a sequential network of layers"
    inputs = problem.samples.args
    if len(inputs) != 1 or problem.samples.kwargs or not inputs[0].is_floating_point():
        return "the network's input is not one floating-point tensor"
    for index, layer in enumerate(problem.function.layers):
        if (reason := objection(layer.module)) is not None:
            return f"layer {index} ({type(layer.module).__name__}) {reason}"
    return None


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
    return Linearised(value, gram)


def _gram(arithmetic: Arithmetic, uses: list[Gradient]) -> Array:
    """Of one tensor: what a shared one gets from all its uses is summed before it is squared."""
    if len(uses) == 1 and isinstance(uses[0], Outer):
        return uses[0].gram(arithmetic)
    total: Array = np.add.reduce([u.explicit() if isinstance(u, Outer) else u for u in uses])
    rows = total.reshape(total.shape[0] * total.shape[1], -1)
    return arithmetic.matmul(rows, rows.T)

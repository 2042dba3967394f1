"""Where the sharpness sits by layer: lower bounds with a layer alone, and with it left out.

Fewer columns of the Jacobian span less, so that the IGS of some parameters is a lower bound of the
IGS of all. What a layer alone reaches needs no other.
"""

import warnings
from dataclasses import dataclass

from torch import nn

from igsref.measures.igs import exact_igs
from igsref.problem import Problem


@dataclass(frozen=True)
class LayerBounds:
    """Lower bounds of the IGS, certain as far as its grade.

    alone: with this layer's parameters; without: with all others, None where there are none.
    """

    name: str
    num_parameters: int
    alone: float
    without: float | None


def layers_of(problem: Problem) -> dict[str, list[str]]:
    """Layer → names of its parameters, in θ's order: those with the same module in front.

    A layer is called by name and type, as in "3 Linear"; the model's own parameters by name.
    """
    found: dict[str, list[str]] = {}
    for name in problem.function.parameters:
        owner, _, own = name.rpartition(".")
        found.setdefault(_called(problem.function.module, owner) or own, []).append(name)
    return found


def _called(module: nn.Module | None, owner: str) -> str:
    if module is None or not owner:
        return owner
    return f"{owner} {type(module.get_submodule(owner)).__name__}"


def layer_bounds(problem: Problem, memory: int | None = None) -> tuple[LayerBounds, ...]:
    """Of every layer; two measurements each. Raises MemoryError as ``exact_igs`` does."""
    return tuple(_bounds(problem, name, own, memory) for name, own in layers_of(problem).items())


def _bounds(problem: Problem, name: str, own: list[str], memory: int | None) -> LayerBounds:
    others = [each for each in problem.function.parameters if each not in own]
    alone = problem.restricted(own)
    return LayerBounds(
        name,
        alone.num_parameters,
        _lower(alone, memory),
        _lower(problem.restricted(others), memory) if others else None,
    )


def _lower(problem: Problem, memory: int | None) -> float:
    with warnings.catch_warnings():
        # Of a value and of a layer; the lower end holds whatever rounding leaves open.
        warnings.simplefilter("ignore")
        return exact_igs(problem, memory=memory).lower

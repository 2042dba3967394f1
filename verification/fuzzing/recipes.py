"""A call as a recipe: a network, a seed, and changes by name; the same recipe, the same call."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import igsref
from verification.fuzzing.changes import BROKEN, ODD, Inapplicable
from verification.fuzzing.subjects import NETWORKS, Subject
from verification.fuzzing.verdict import (
    ACCEPTED,
    Outcome,
    contradictions,
    contradictions_of_certified,
    disagreements,
    outcome,
    unequal,
)

CALLS = ("exact_igs", "certify")


@dataclass(frozen=True)
class Recipe:
    """A network of ``NETWORKS``, drawn by the seed, with changes in the order in which they came.

    What a change draws depends on the seed and its own name, not on the other changes.
    """

    network: str
    seed: int
    changes: tuple[str, ...] = ()

    def subject(self) -> Subject:
        """Build it. Raises Inapplicable where a change does not go with what came before it."""
        subject = NETWORKS[self.network](torch.Generator().manual_seed(self.seed))
        for name in self.changes:
            draw = random.Random(f"{self.seed} {name}")
            try:
                (ODD | BROKEN)[name](subject, draw)
            except Exception as error:
                raise Inapplicable(f"{name}: {type(error).__name__}: {error}") from error
        return subject

    def with_change(self, name: str) -> "Recipe":
        """One change more."""
        return Recipe(self.network, self.seed, (*self.changes, name))

    def without(self, index: int) -> "Recipe":
        """One change less."""
        return Recipe(self.network, self.seed, (*self.changes[:index], *self.changes[index + 1 :]))


def tried(recipe: Recipe) -> dict[str, Outcome]:
    """What exact_igs and certify do with a recipe; empty where it cannot be built."""
    found: dict[str, Outcome] = {}
    for name in CALLS:
        try:  # afresh, since a call may use data up
            subject = recipe.subject()
            call = _prepared(subject, name)
        except Inapplicable:
            return {}
        check = contradictions if name == "exact_igs" else contradictions_of_certified
        found[name] = outcome(call, check)
    first, second = (found[name] for name in CALLS)
    apart = tuple(unequal(first, second))
    if first.kind == second.kind == ACCEPTED:
        apart = tuple(disagreements(first.value, second.value))
    found["certify"] = replace(second, wrong=(*second.wrong, *apart))
    return found


def _prepared(subject: Subject, name: str) -> Callable[[], Any]:
    """The call itself; what cannot be made ready for it is no input."""
    function = getattr(igsref, name)
    own = subject.memory if name == "exact_igs" else subject.digits
    try:
        arguments, options = subject.arguments()
    except Exception as error:
        raise Inapplicable(f"{type(error).__name__}: {error}") from error

    def call() -> Any:
        with subject.context():
            return function(*arguments, **options, **own)

    return call

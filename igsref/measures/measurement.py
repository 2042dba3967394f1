"""What a measure beside the IGS returns, and what is said about a measure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, SupportsFloat, get_args

Kind = Literal["computed", "enclosed", "sampled", "maximised", "bounded"]
"""What ``uncertainty`` is. computed: 0, the formula is evaluated and nothing but rounding enters.
enclosed: the exact number is within it, as far as the grade of the bracket says. sampled: one
standard error of a mean. maximised: the value is a lower bound of a maximum; the spread of what
several starts found. bounded: the exact optimum is within it, proven."""

Invariance = Literal[
    "layer scaling",
    "node scaling",
    "permutation",
    "sign flip",
    "softmax shift",
    "attention basis",
    "diagonal",
    "orthogonal",
    "linear",
    "elementwise",
    "elementwise power",
    "radial power",
    "coupling",
]
"""Kinds of transformations that leave the function of a network as it is."""

INVARIANCES: tuple[Invariance, ...] = get_args(Invariance)


@dataclass(frozen=True)
class Measurement:
    """A number, how uncertain it is, and in which sense.

    bracket: (lower, upper) of what is enclosed; the uncertainty is its wider side.
    Raises ValueError for an uncertainty below 0.
    """

    value: float
    uncertainty: float = 0.0
    kind: Kind = "computed"
    bracket: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.uncertainty >= 0:
            raise ValueError(f"uncertainty must be at least 0; got {self.uncertainty}")

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class Measure:
    """A published measure: how it is computed, and what its paper says that it survives.

    compute: a function of (model, data, **options), as ``igsref.exact_igs`` is, that gives a
        Measurement, or a plain number.
    promised: the kinds of transformations (``INVARIANCES``) under which its paper says that it does
        not change.
    Raises TypeError for a compute that cannot be called, ValueError for a kind that there is not.
    """

    name: str
    source: str
    compute: Callable[..., SupportsFloat]
    promised: frozenset[Invariance] = frozenset()

    def __post_init__(self) -> None:
        if not callable(self.compute):
            raise TypeError(f"compute must be a function of (model, data); got {self.compute!r}")
        unknown = sorted(set(self.promised) - set(INVARIANCES))
        if unknown:
            raise ValueError(f"promised must be among {INVARIANCES}; got {unknown}")

"""A number with an error bar: lower ≤ value ≤ upper, and a grade that says how they are known."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Grade = Literal["estimated", "verified"]
"""verified: lower and upper are proven (an upper end given ``rank_bound=``, given that bound).
estimated: a step rests on an estimate of rounding."""

GRADES: tuple[Grade, ...] = get_args(Grade)


@dataclass(frozen=True)
class Enclosure:
    """lower ≤ value ≤ upper, and the grade of the two ends.

    Raises ValueError for bounds in another order, for an unknown grade.
    """

    lower: float
    value: float
    upper: float
    grade: Grade

    def __post_init__(self) -> None:
        if not self.lower <= self.value <= self.upper:
            raise ValueError(
                f"bounds must be in order; got {self.lower} ≤ {self.value} ≤ {self.upper}"
            )
        if self.grade not in GRADES:
            raise ValueError(f"grade must be one of {GRADES}; got {self.grade!r}")

    def __float__(self) -> float:
        return self.value

    @property
    def width(self) -> float:
        """upper − lower."""
        return self.upper - self.lower

    def capped(self, most: float) -> "Enclosure":
        """The same of a number that is known not to exceed ``most``.

        Raises ValueError where most < lower.
        """
        return Enclosure(self.lower, min(self.value, most), min(self.upper, most), self.grade)

    def __str__(self) -> str:
        return f"{self.value:.10g} in [{self.lower:.10g}, {self.upper:.10g}], {self.grade}"


def combined(*terms: tuple[float, Enclosure]) -> Enclosure:
    """Σ w_k e_k for weights and terms ≥ 0, of the weakest grade; ends rounded outwards.

    >>> a = Enclosure(1.0, 2.0, 3.0, "verified")
    >>> combined((0.5, a), (0.5, a)).value
    2.0
    """
    # What has no weight is left out: 0·∞ is not a number.
    lower, value, upper = (
        math.fsum(weight * getattr(term, end) for weight, term in terms if weight > 0)
        for end in ("lower", "value", "upper")
    )
    grade = min((term.grade for _, term in terms), key=GRADES.index)
    # A weight, a product, the one rounding of fsum, and the product with this factor itself: less
    # than 16 u of a sum of terms that are ≥ 0.
    return Enclosure(
        min(value, max(0.0, lower * (1 - 2.0**-49))),
        value,
        max(value, upper * (1 + 2.0**-49)),
        grade,
    )

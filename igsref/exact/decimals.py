"""Decimal strings whose ends are rounded outwards: what a certified number is handed on as."""

import decimal
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from fractions import Fraction

from flint import arb

_SPARE_DIGITS = 3
_FEWEST_DIGITS = 17
_MOST_DIGITS = 1100
"""More than can be asked for; Python reads no more than 4300 digits back."""


@dataclass(frozen=True)
class Decimals:
    """lower ≤ number ≤ upper, two decimal strings.

    Raises ValueError where they are no numbers in this order.
    """

    lower: str
    upper: str

    def __post_init__(self) -> None:
        try:
            low, high = self.fractions
        except ValueError as error:
            raise ValueError(
                f"lower and upper must be decimal strings; got {self.lower!r}, {self.upper!r}"
            ) from error
        if low > high:
            raise ValueError(f"lower must not exceed upper; got {self.lower} > {self.upper}")

    @property
    def fractions(self) -> tuple[Fraction, Fraction]:
        """Both ends, exactly."""
        return Fraction(self.lower), Fraction(self.upper)

    @property
    def digits(self) -> int:
        """Decimal digits that the ends prove: −log10 of the relative width, rounded down.

        Of an exact number as many as can be asked for, 1,100.
        """
        low, high = self.fractions
        size = max(abs(low), abs(high))
        if low == high:
            return _MOST_DIGITS
        width = (high - low) / size  # beyond the range of floats where there are many digits
        ratio = decimal.Decimal(width.numerator) / decimal.Decimal(width.denominator)
        return -ratio.adjusted() - 1

    def __float__(self) -> float:
        low, high = self.fractions
        return float((low + high) / 2)

    def contains(self, value: Fraction | float) -> bool:
        """Whether an exact number lies between the ends."""
        low, high = self.fractions
        return low <= Fraction(value) <= high

    def within(self, most: "Decimals") -> "Decimals":
        """The same of a number that is known to be neither negative nor above another one.

        >>> print(Decimals("-1e-30", "2.5").within(Decimals("2.25", "2.375")))
        [0, 2.375]
        """
        low, high = self.fractions
        return Decimals(
            self.lower if low >= 0 else "0",
            self.upper if high <= most.fractions[1] else most.upper,
        )

    def __str__(self) -> str:
        return f"[{self.lower}, {self.upper}]"

    @classmethod
    def outwards(
        cls,
        low: Fraction,
        high: Fraction,
        fewest: int = _FEWEST_DIGITS,
        most: int = _MOST_DIGITS,
    ) -> "Decimals":
        """Of two exact numbers, with a few digits more than their distance makes certain.

        fewest, most: the digits that are written, where an end does not need less.
        """
        size = max(abs(low), abs(high))
        known = fewest
        if high > low:
            known = max(1, -_exponent((high - low) / size))
        places = min(max(fewest, known + _SPARE_DIGITS), most)
        return cls(_rounded(low, places, ROUND_FLOOR), _rounded(high, places, ROUND_CEILING))


def enclosed(ball: arb, fewest: int = _FEWEST_DIGITS, most: int = _MOST_DIGITS) -> Decimals:
    """The ends of a ball, in so many digits.

    >>> print(enclosed(arb(1) / 4))
    [0.25, 0.25]
    """
    return between(ball, ball, fewest, most)


def between(
    low: arb, high: arb, fewest: int = _FEWEST_DIGITS, most: int = _MOST_DIGITS
) -> Decimals:
    """The lower end of one ball and the upper end of another one, in so many digits.

    >>> print(between(arb(1) / 4, arb(3)))
    [0.25, 3]
    """
    return Decimals.outwards(_exact(low.lower()), _exact(high.upper()), fewest, most)


def _exact(point: arb) -> Fraction:
    mantissa, exponent = (int(part) for part in point.mid().man_exp())
    return Fraction(mantissa) * Fraction(2) ** exponent


def _exponent(value: Fraction) -> int:
    """⌊log10 value⌋ to within one, of a positive number of any size."""
    numerator, denominator = decimal.Decimal(value.numerator), decimal.Decimal(value.denominator)
    return numerator.adjusted() - denominator.adjusted()


def _rounded(value: Fraction, places: int, rounding: str) -> str:
    context = decimal.Context(prec=places, rounding=rounding, Emin=-(10**9), Emax=10**9)
    quotient = context.divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator))
    return format(quotient.normalize(context), "").lower()

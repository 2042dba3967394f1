"""A network with exact rational gradient, Hessian and Fisher matrix, in which H and F differ.

One weight θ, one hidden softplus unit, f(x) = log(1 + e^{θx}), Bernoulli likelihood, p = σ(f). At
θ = log 2 and integer x, with h = 2^x,

    p = (1 + h)/(2 + h),   f' = x h/(1 + h),   f'' = x² h/(1 + h)².
"""

from dataclasses import dataclass

from flint import fmpq


@dataclass(frozen=True)
class Input:
    """An integer x and the share of its labels that are 1."""

    x: int
    ones: fmpq

    @property
    def odds(self) -> fmpq:
        """e^{θx} = 2^x."""
        return fmpq(2) ** self.x

    @property
    def probability(self) -> fmpq:
        return (1 + self.odds) / (2 + self.odds)

    @property
    def slope(self) -> fmpq:
        """∂f/∂θ."""
        return self.x * self.odds / (1 + self.odds)

    @property
    def curvature(self) -> fmpq:
        """∂²f/∂θ²."""
        return self.x**2 * self.odds / (1 + self.odds) ** 2


@dataclass(frozen=True)
class SoftplusUnit:
    """The unit at θ = log 2 with equally frequent inputs."""

    inputs: tuple[Input, ...]

    def _mean(self, terms: list[fmpq]) -> fmpq:
        return sum(terms, fmpq(0)) / len(terms)

    def gradient(self) -> fmpq:
        return self._mean([(i.probability - i.ones) * i.slope for i in self.inputs])

    def fisher(self) -> fmpq:
        """F = E[p(1 − p) f'²]."""
        return self._mean([i.probability * (1 - i.probability) * i.slope**2 for i in self.inputs])

    def hessian(self) -> fmpq:
        """H = F + E[(p − q) f'']."""
        rest = self._mean([(i.probability - i.ones) * i.curvature for i in self.inputs])
        return self.fisher() + rest

    def covariance(self) -> fmpq:
        """C = E[g²] = E[(q(1 − p)² + (1 − q)p²) f'²]."""
        return self._mean(
            [
                (i.ones * (1 - i.probability) ** 2 + (1 - i.ones) * i.probability**2) * i.slope**2
                for i in self.inputs
            ]
        )

"""One block of an approximate Fisher matrix: U diag(S) Uᵀ, U = U_B ⊗ U_A or the identity."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Block:
    """U diag(S) Uᵀ on the entries of θ that it names, a matrix (outputs, inputs) for each group.

    entries: their places in θ. scalings: S. input_basis, output_basis: U_A and U_B of each group,
    eigenvectors in columns; None stands for the identity.
    """

    entries: Int64[Tensor, "groups outputs inputs"]
    scalings: Float[Tensor, "groups outputs inputs"]
    input_basis: Float[Tensor, "groups inputs inputs"] | None = None
    output_basis: Float[Tensor, "groups outputs outputs"] | None = None

    def power(
        self,
        vectors: Float[Tensor, "groups outputs inputs k"],
        exponent: float,
        damping: float,
        absolute: float,
    ) -> Float[Tensor, "groups outputs inputs k"]:
        """U (diag(S) + λI)^exponent Uᵀ, λ = damping · max S + absolute."""
        factors = self.factors(exponent, damping, absolute)
        inputs, outputs = self.input_basis, self.output_basis
        inside = _times(vectors, _transposed(inputs), _transposed(outputs))
        return _times(factors[..., None] * inside, inputs, outputs)

    def bases(
        self,
    ) -> tuple[Float[Tensor, "groups inputs inputs"], Float[Tensor, "groups outputs outputs"]]:
        """U_A and U_B of a block that has both. Raises ValueError for another one."""
        if self.input_basis is None or self.output_basis is None:
            raise ValueError("a block without a Kronecker eigenbasis has no U_A and U_B")
        return self.input_basis, self.output_basis

    def factors(
        self, exponent: float, damping: float, absolute: float = 0.0
    ) -> Float[Tensor, "groups outputs inputs"]:
        """(S + λ)^exponent; of a negative one that of a pseudo-inverse: 0 where S + λ is 0."""
        shifted = self.scalings + (damping * self.scalings.max() + absolute)
        factors = shifted.pow(exponent)
        return factors if exponent >= 0 else torch.where(shifted > 0, factors, 0.0)

    def diagonal(self) -> Float[Tensor, "groups outputs inputs"]:
        """The diagonal of U diag(S) Uᵀ: (U∘U) S."""
        squares = (
            None if basis is None else basis.square()
            for basis in (self.input_basis, self.output_basis)
        )
        return _times(self.scalings[..., None], *squares).squeeze(-1)


def _transposed(basis: Tensor | None) -> Tensor | None:
    return None if basis is None else basis.mT


def _times(values: Tensor, inputs: Tensor | None, outputs: Tensor | None) -> Tensor:
    """(outputs ⊗ inputs) values, for each group and column."""
    if inputs is not None:
        values = torch.einsum("gie,goek->goik", inputs, values)
    if outputs is not None:
        values = torch.einsum("gop,gpik->goik", outputs, values)
    return values

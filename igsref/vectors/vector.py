"""A reference vector: a network with labelled samples, and what is proven about it."""

from dataclasses import dataclass

from torch import Tensor, nn

from igsref.exact.decimals import Decimals


@dataclass(frozen=True)
class Expected:
    """Proven enclosures of what an implementation must find, ends of 25 digits at most.

    igs: equation (6). ceiling: Σ uᵀΛ⁺u, duplicates of an input counted once. rank: of F, exact;
    None where it is undecided. full_batch: G = ḡ F⁺ ḡᵀ. minibatch: IGS_b by b, equation (7),
    batches drawn without replacement. per_sample: g_i F⁺ g_iᵀ. eigenvalues: the nonzero ones of F,
    largest first, as often as they occur; none where the rank is undecided.
    """

    igs: Decimals
    ceiling: Decimals
    rank: int | None
    full_batch: Decimals
    minibatch: dict[int, Decimals]
    per_sample: tuple[Decimals, ...]
    eigenvalues: tuple[Decimals, ...]


@dataclass(frozen=True, eq=False)
class Vector:
    """One reference case.

    model: float64, in evaluation mode. inputs: float64, samples first. labels: class numbers,
    int64 (N,), for the categorical likelihood; float64 of the logits' shape for the others.
    """

    name: str
    tags: tuple[str, ...]
    model: nn.Sequential
    inputs: Tensor
    labels: Tensor
    likelihood: str
    expected: Expected

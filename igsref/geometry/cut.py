"""Where a spectrum is cut, and whether the cut is clear."""

from jaxtyping import Float64
from torch import Tensor

from igsref.linalg.rounding import UNIT

_FAR_ABOVE = 1e3
_FAR_BELOW = 10.0


def estimated_row_error(
    relative: float, matrix: Float64[Tensor, "rows k"]
) -> Float64[Tensor, " rows"]:
    """Of rows known to a relative error, after a QR: its 4√n u is generous, not proven."""
    return (relative + 4 * len(matrix) ** 0.5 * UNIT) * matrix.norm(dim=1)


def is_clear(sizes: Float64[Tensor, " p"], cut: float) -> bool:
    """Nothing stands shortly above the error or shortly below."""
    return not bool(((sizes < _FAR_ABOVE * cut) & (sizes > cut / _FAR_BELOW)).any())

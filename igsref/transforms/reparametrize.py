"""Linear reparametrisations: the same function of other coordinates, θ = T θ'."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from igsref.model import logit_function

Pair = tuple[Callable[..., Tensor], dict[str, Tensor]]


def reparametrize_linearly(
    model: nn.Module | tuple[Callable[..., Any], Mapping[str, Tensor]],
    matrix: Float64[Tensor, "params params"],
) -> Pair:
    """The model in coordinates θ' with θ = matrix·θ', as a pair (function, params).

    matrix: T, square and invertible, m × m; the coordinates are T⁻¹θ, stored as "theta".
    Raises ValueError where the size of T is not m or T is singular.
    """
    original = logit_function(model)
    m = original.parameter_count
    if matrix.shape != (m, m):
        raise ValueError(f"matrix must be {m} × {m} for {m} parameters; got {tuple(matrix.shape)}")
    flat = torch.cat([value.flatten() for value in original.parameters.values()])
    coordinates, info = torch.linalg.solve_ex(matrix, flat)
    if int(info) != 0 or not bool(coordinates.isfinite().all()):
        raise ValueError("matrix must be invertible; it is singular")

    def function(params: Mapping[str, Tensor], *args: Tensor, **kwargs: Tensor) -> Tensor:
        theta = _unflatten(matrix.to(params["theta"]) @ params["theta"], original.parameters)
        return original.call(theta, args, kwargs)

    return function, {"theta": coordinates}


def _unflatten(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = flat.split([value.numel() for value in like.values()])
    return {
        name: part.reshape(value.shape)
        for (name, value), part in zip(like.items(), parts, strict=True)
    }

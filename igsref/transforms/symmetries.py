"""Symmetries of fully connected networks: scaling and permuting hidden units.

For chains ``nn.Sequential(Linear, activation, Linear, …)``. A ReLU or leaky ReLU network keeps
its function when a hidden unit's incoming weights are multiplied by s > 0 and its outgoing
weights divided by s; any network keeps it when hidden units are permuted.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity)


def hidden_widths(model: nn.Sequential) -> list[int]:
    """Number of units of every hidden layer.

    >>> hidden_widths(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
    [5]
    """
    return [layer.out_features for layer in _linear_layers(model)[:-1]]


def scale_nodes(model: nn.Sequential, factors: Sequence[Float[Tensor, "_"]]) -> nn.Sequential:
    """A copy with each hidden unit's input multiplied, and its output divided, by its factor.

    factors: one positive tensor per hidden layer, one entry per unit. Powers of two round
    nothing; with other factors the rounded weights are, strictly, another network.

    Raises ValueError where the factors do not fit or an activation is not homogeneous.
    """
    _check_homogeneous(model)
    _check_lengths("factors", factors, hidden_widths(model))
    if not all(bool((factor > 0).all() and factor.isfinite().all()) for factor in factors):
        raise ValueError("factors must be positive and finite")
    scaled = copy.deepcopy(model)
    layers = _linear_layers(scaled)
    with torch.no_grad():
        for layer, following, factor in zip(layers, layers[1:], factors, strict=False):
            size = factor.to(layer.weight)
            layer.weight.mul_(size[:, None])
            if layer.bias is not None:
                layer.bias.mul_(size)
            following.weight.div_(size)
    return scaled


def scale_layers(model: nn.Sequential, factors: Sequence[float]) -> nn.Sequential:
    """A copy with every hidden layer scaled as one: ``scale_nodes`` with equal factors."""
    _check_lengths("factors", factors, hidden_widths(model))
    return scale_nodes(
        model,
        [
            torch.full((width,), float(factor), dtype=torch.float64)
            for width, factor in zip(hidden_widths(model), factors, strict=True)
        ],
    )


def permute_nodes(model: nn.Sequential, orders: Sequence[Int64[Tensor, "_"]]) -> nn.Sequential:
    """A copy with the units of each hidden layer in another order.

    orders: one permutation of 0..width−1 per hidden layer.

    Raises ValueError where the orders do not fit or one is no permutation; TypeError for a model
    that is no ``nn.Sequential``.
    """
    _check_lengths("orders", orders, hidden_widths(model))
    for order, width in zip(orders, hidden_widths(model), strict=True):
        if sorted(order.tolist()) != list(range(width)):
            raise ValueError(f"orders must be permutations of 0..{width - 1}; got {order.tolist()}")
    permuted = copy.deepcopy(model)
    layers = _linear_layers(permuted)
    with torch.no_grad():
        for layer, following, order in zip(layers, layers[1:], orders, strict=False):
            layer.weight.copy_(layer.weight[order].clone())
            if layer.bias is not None:
                layer.bias.copy_(layer.bias[order].clone())
            following.weight.copy_(following.weight[:, order].clone())
    return permuted


def _linear_layers(model: nn.Sequential) -> list[nn.Linear]:
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model must be an nn.Sequential; got {type(model).__name__}")
    layers = [module for module in model if isinstance(module, nn.Linear)]
    if len({id(layer) for layer in layers}) < len(layers):
        raise ValueError("model uses a layer twice; its units cannot be changed one at a time")
    if not layers or any(
        next(module.parameters(), None) is not None and not isinstance(module, nn.Linear)
        for module in model
    ):
        raise ValueError("model must be a chain of nn.Linear and parameter-free activations")
    return layers


def _check_homogeneous(model: nn.Sequential) -> None:
    for module in model:
        if not isinstance(module, (nn.Linear, nn.Flatten, *_HOMOGENEOUS)):
            raise ValueError(
                f"model has a {type(module).__name__}; scaling keeps the function only where every "
                "activation is positively homogeneous (ReLU, leaky ReLU)"
            )


def _check_lengths(name: str, given: Sequence, widths: list[int]) -> None:
    sizes = [
        len(entry) if isinstance(entry, Tensor) else width
        for entry, width in zip(given, widths, strict=False)
    ]
    if len(given) != len(widths) or sizes != widths:
        raise ValueError(
            f"{name} must hold one entry per hidden layer, of widths {widths}; "
            f"got {len(given)} of sizes {sizes}"
        )

"""Bases of the heads of attention: W_q → T W_q, W_k → T⁻ᵀ W_k; W_v → T W_v, W_o → W_o T⁻¹.

Of ``nn.MultiheadAttention``, per head, with an invertible T of head_dim × head_dim: scores
(T q)·(T⁻ᵀ k) = q·k and outputs W_o T⁻¹(T v) = W_o v stay as they are. Biases, and the learnt key
and value of ``add_bias_kv``, change with their projections; the zeros of ``add_zero_attn`` stay.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from igsref.arguments import check_draw, check_model, check_sequence, check_tensor
from igsref.graph import is_altered

Bases = Sequence[Float[Tensor, "heads dim dim"]]
_QUERY, _KEY, _VALUE = range(3)


def attention_heads(model: nn.Module) -> list[tuple[int, int]]:
    """(heads, head_dim) of every attention module that can be changed, in the model's order.

    >>> attention_heads(nn.Sequential(nn.MultiheadAttention(6, 2)))
    [(2, 3)]
    """
    return [(module.num_heads, module.head_dim) for module in _changeable(model)]


def change_query_key_basis(model: nn.Module, bases: Bases) -> nn.Module:
    """A copy with queries in the basis T, and keys in the dual one, in every head.

    bases: one tensor (heads, head_dim, head_dim) per module of :func:`attention_heads`. The
        function is kept to eps·κ(T) of the scores.

    Raises TypeError for what is no list of tensors; ValueError where the model has no attention to
    act on, where the bases do not fit, or where one is singular to working precision. Tensors are
    taken to be used by their module only.
    """
    changed = copy.deepcopy(model)
    for module, basis in _paired(changed, bases):
        _project(module, _QUERY, partial(torch.matmul, basis))
        _project(module, _KEY, partial(torch.linalg.solve, basis.mT))
    return changed


def change_value_output_basis(model: nn.Module, bases: Bases) -> nn.Module:
    """A copy with values in the basis T, which the output projection undoes, in every head.

    bases, errors: as of :func:`change_query_key_basis`.
    """
    changed = copy.deepcopy(model)
    for module, basis in _paired(changed, bases):
        _project(module, _VALUE, partial(torch.matmul, basis))
        with torch.no_grad():
            weight = module.out_proj.weight
            parts = weight.unflatten(1, (module.num_heads, module.head_dim)).transpose(0, 1)
            undone = torch.linalg.solve(basis.mT, parts.mT).mT
            weight.copy_(undone.transpose(0, 1).flatten(1))
    return changed


def _project(module: nn.MultiheadAttention, which: int, act: Callable[[Tensor], Tensor]) -> None:
    """Apply a map to the rows of every head of one projection: weight, bias, learnt token."""
    with torch.no_grad():
        for rows in _rows(module, which):
            parts = rows.reshape(module.num_heads, module.head_dim, -1)
            rows.copy_(act(parts).reshape(rows.shape))


def _rows(module: nn.MultiheadAttention, which: int) -> Iterator[Tensor]:
    """Views of the tensors whose rows, or entries, are those of the projection."""
    width = module.embed_dim
    own = slice(which * width, (which + 1) * width)
    weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    separate: Tensor | None = weights[which]
    yield module.in_proj_weight[own] if separate is None else separate
    if module.in_proj_bias is not None:
        yield module.in_proj_bias[own]
    learnt = {_KEY: module.bias_k, _VALUE: module.bias_v}.get(which)
    if learnt is not None:
        yield learnt.view(-1)


def _paired(model: nn.Module, bases: Bases) -> list[tuple[nn.MultiheadAttention, Tensor]]:
    """Every module with its checked basis, in the type of its weights."""
    modules = _acting(model)
    expected = [(m.num_heads, m.head_dim, m.head_dim) for m in modules]
    check_sequence("bases", bases, f"tensors, one per attention module, of shapes {expected}")
    for number, basis in enumerate(bases):
        check_tensor(f"bases[{number}]", basis)
    if [tuple(basis.shape) for basis in bases] != expected:
        raise ValueError(
            f"bases must hold one tensor per attention module, of shapes {expected}; "
            f"got {[tuple(basis.shape) for basis in bases]}"
        )
    pairs = [(m, basis.to(m.out_proj.weight)) for m, basis in zip(modules, bases, strict=True)]
    for _, basis in pairs:
        _check_invertible(basis)
    return pairs


def _check_invertible(basis: Tensor) -> None:
    if not bool(basis.isfinite().all()):
        raise ValueError("bases must be finite")
    condition = float(torch.linalg.cond(basis).max())
    if not condition < 1 / torch.finfo(basis.dtype).eps:
        raise ValueError(
            f"bases must be invertible; one has condition {condition:.3g}, singular in "
            f"{basis.dtype}"
        )


def _acting(model: nn.Module) -> list[nn.MultiheadAttention]:
    modules = _changeable(model)
    if not modules:
        named = dict(model.named_modules())
        found = [name for name, m in named.items() if isinstance(m, nn.MultiheadAttention)]
        raise ValueError(
            "model has no nn.MultiheadAttention whose basis can be changed; "
            + (
                f"{', '.join(found)}: a subclass, with hooks or parametrisations, or sharing its "
                "tensors"
                if found
                else "it has none at all"
            )
        )
    return modules


def _changeable(model: nn.Module) -> list[nn.MultiheadAttention]:
    """Modules of exactly this type that run their own forward and own their tensors alone."""
    check_model(model)
    owners: dict[int, set[int]] = {}
    for module in model.modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            owners.setdefault(tensor.untyped_storage().data_ptr(), set()).add(id(module))
    return [
        module
        for module in model.modules()
        if type(module) is nn.MultiheadAttention
        and not is_altered(module)
        and not is_altered(module.out_proj)
        and all(len(owners[p.untyped_storage().data_ptr()]) == 1 for p in module.parameters())
    ]


def draw_bases(
    model: nn.Module, generator: torch.Generator, strength: float
) -> list[Float64[Tensor, "heads dim dim"]]:
    """Random T = Q diag(10^(strength·u)) R, Q, R orthogonal, u uniform in [−1, 1].

    Condition numbers are 10^(2·strength), or less where heads have one dimension.

    Raises ValueError as :func:`change_query_key_basis` does, and for a strength that is negative
    or infinite.
    """
    check_draw(generator, strength)
    return [_basis(m.num_heads, m.head_dim, generator, strength) for m in _acting(model)]


def _basis(heads: int, dim: int, generator: torch.Generator, strength: float) -> Tensor:
    draw = torch.randn(2, heads, dim, dim, generator=generator, dtype=torch.float64)
    left, right = torch.linalg.qr(draw).Q
    u = 2 * torch.rand(heads, dim, generator=generator, dtype=torch.float64) - 1
    if dim > 1:
        u[:, 0], u[:, 1] = 1.0, -1.0
    return left * 10.0 ** (strength * u)[:, None, :] @ right


def draw_query_key_basis(
    model: nn.Module, generator: torch.Generator, strength: float
) -> nn.Module:
    """A copy with random bases of queries and keys, see :func:`draw_bases`."""
    return change_query_key_basis(model, draw_bases(model, generator, strength))


def draw_value_output_basis(
    model: nn.Module, generator: torch.Generator, strength: float
) -> nn.Module:
    """A copy with random bases of values, see :func:`draw_bases`."""
    return change_value_output_basis(model, draw_bases(model, generator, strength))

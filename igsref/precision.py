"""Digits that get lost: casts inside a model, found by watching a pass, and short float32."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from traceback import walk_stack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PrecisionError(TypeError):
    """A model loses digits on the way to its logits."""


class RefuseLowerPrecision(TorchDispatchMode):
    """Raise PrecisionError where what follows from some float64 tensors becomes a shorter float.

    The tensors, and all that is computed from them, are followed; constants may have any type.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        # By id; kept alive, so that no other tensor gets the id.
        self._followed = {id(tensor): tensor for tensor in tensors}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._followed]
        result = func(*args, **(kwargs or {}))
        if given and not _is_factory(func):
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor):
                    _check_result(func, given, tensor)
                    self._followed[id(tensor)] = tensor
        return result


@contextmanager
def full_float32() -> Iterator[None]:
    """Products of float32 in float32 on every device, whatever the caller chose for his own.

    TF32 has 10 bits of mantissa: too few for an adjoint, and enough to look like one. cuDNN's sums
    come in the same order every time. A model may read and set torch's older flags inside.
    """
    cudnn: Any = torch.backends.cudnn
    chosen = [(backend, backend.fp32_precision) for backend in _backends()]
    older = _older_flags()
    flags = cudnn.benchmark, cudnn.deterministic
    try:
        # The older flags first: they set the newer ones too, and must agree with them.
        _set_older_flags((False, "highest"))
        for backend, _ in chosen:
            backend.fp32_precision = "ieee"
        cudnn.benchmark, cudnn.deterministic = False, True
        yield
    finally:
        _set_older_flags(older)
        for backend, precision in chosen:
            backend.fp32_precision = "none"
            if backend.fp32_precision != precision:  # else it follows the parent, as before
                backend.fp32_precision = precision
        cudnn.benchmark, cudnn.deterministic = flags


def _backends() -> list[Any]:
    """What has a float32 that may be shorter."""
    backends: Any = torch.backends  # whose parts have no stubs
    parts = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    return [*parts, backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]


def _older_flags() -> tuple[bool | None, str | None]:
    """cuDNN's TF32 and products' precision; None where the newer settings contradict them."""
    try:
        tf32 = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        tf32 = None
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:
        precision = None
    return tf32, precision


def _set_older_flags(flags: tuple[bool | None, str | None]) -> None:
    tf32, precision = flags
    if tf32 is not None:
        torch.backends.cudnn.allow_tf32 = tf32
    if precision is not None:
        torch.set_float32_matmul_precision(precision)


def _is_factory(func: Callable[..., Any]) -> bool:
    """Whether an operation takes shape and device of its argument, and no values."""
    name = getattr(func, "__name__", "").split(".")[0]
    return name.endswith("_like") or name.startswith("new_")


def _check_result(func: Callable[..., Any], given: list[Tensor], result: Tensor) -> None:
    if not result.is_floating_point() or result.dtype == torch.float64:
        return
    if any(tensor.dtype == torch.float64 for tensor in given):
        raise PrecisionError(
            f"model must compute in torch.float64 where its parameters and inputs are; "
            f"{_module_at_work()} turns values of shape {tuple(result.shape)} into {result.dtype} "
            f"({func}). Take the cast out of its forward pass: it loses digits"
        )


def _module_at_work() -> str:
    """The innermost module whose method is being executed."""
    for frame, _ in walk_stack(sys._getframe()):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            return type(owner).__name__
    return "it"

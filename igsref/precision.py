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
    come in the same order every time.
    """
    backends: Any = torch.backends  # whose parts have no stubs
    short = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    short += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    chosen = [backend.fp32_precision for backend in short]
    deterministic = backends.cudnn.deterministic
    try:
        for backend in short:
            backend.fp32_precision = "ieee"
        backends.cudnn.deterministic = True
        yield
    finally:
        for backend, precision in zip(short, chosen, strict=True):
            backend.fp32_precision = precision
        backends.cudnn.deterministic = deterministic


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

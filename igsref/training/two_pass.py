"""Gradients taken elsewhere than at θ: the protocol that SAM, ASAM, GR and the IGS step share.

A step reads the gradient at θ, moves θ by some δ that it makes of it, reads the gradient there,
moves θ back, and lets a base optimizer go along what it has read:

    optimizer = igsref.training.SAM(model, torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05)
    for x, y in loader:
        def closure():
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            return loss
        optimizer.step(closure)

or by hand, where a batch comes in parts, or gradients are to be clipped:

    for part in parts: loss_of(part).backward()
    optimizer.perturb()
    for part in parts: loss_of(part).backward()
    optimizer.restore()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.base.step()
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from igsref.arguments import check_model, check_type

Gradients = Mapping[str, Tensor]
Perturbation = Callable[[Gradients], dict[str, Tensor]]
"""Gradients at θ, by the parameters' names ↦ δ by the same names, of the same shapes."""
Combination = Callable[[Tensor, Tensor], Tensor]
"""The gradients of one parameter at θ and at θ + δ ↦ what the base optimizer is given."""


class TwoPass:
    """A base optimizer that is given gradients of two passes.

    base: the optimizer, of parameters of the model; learning-rate schedules are made for it.
    Running statistics of normalisation layers are those of the first pass: what they become in the
    second, at θ + δ, is undone. Dropout draws anew in each pass. With ``DistributedDataParallel``
    both passes reduce their gradients, so that all processes move by the same δ.
    """

    def __init__(
        self,
        model: nn.Module,
        base_optimizer: torch.optim.Optimizer,
        perturbation: Perturbation,
        combination: Combination = lambda first, second: second,
    ) -> None:
        check_model(model)
        check_type("base_optimizer", base_optimizer, torch.optim.Optimizer, "a torch Optimizer")
        named = {id(p): name for name, p in model.named_parameters()}
        chosen = [p for group in base_optimizer.param_groups for p in group["params"]]
        strangers = sum(id(p) not in named for p in chosen)
        if strangers:
            raise ValueError(
                "base_optimizer must be of parameters of model; "
                f"{strangers} of its {len(chosen)} are not"
            )
        self.model, self.base = model, base_optimizer
        self._perturbation, self._combination = perturbation, combination
        self._parameters = {named[id(p)]: p for p in chosen}
        self._before: dict[str, tuple[Tensor, Tensor]] = {}
        self._buffers: dict[str, Tensor] = {}

    @torch.no_grad()
    def perturb(self) -> None:
        """Move θ to θ + δ, δ from the gradients that the parameters hold; these are then cleared.

        Parameters without a gradient stay where they are.
        Raises RuntimeError where θ was moved already, or no parameter has a gradient;
        FloatingPointError, with the parameter's name, for a gradient that is not finite: θ is
        then as it was.
        """
        if self._before:
            raise RuntimeError("perturb was called twice without restore between")
        gradients = {n: p.grad for n, p in self._parameters.items() if p.grad is not None}
        if not gradients:
            raise RuntimeError("perturb must follow a backward pass; no parameter has a gradient")
        _check_finite(gradients)
        for name, change in self._perturbation(gradients).items():
            parameter = self._parameters[name]
            self._before[name] = (parameter.detach().clone(), gradients[name].clone())
            parameter.add_(change)
        self._buffers = {n: b.clone() for n, b in _running_statistics(self.model).items()}
        self.base.zero_grad()

    @torch.no_grad()
    def restore(self) -> None:
        """Move θ back, bit for bit, and leave the combined gradients for the base optimizer.

        Raises RuntimeError where θ was not moved.
        """
        if not self._before:
            raise RuntimeError("restore must follow perturb")
        for name, (value, first) in self._before.items():
            parameter = self._parameters[name]
            parameter.copy_(value)
            second = torch.zeros_like(first) if parameter.grad is None else parameter.grad
            parameter.grad = self._combination(first, second)
        for name, buffer in _running_statistics(self.model).items():
            buffer.copy_(self._buffers[name])
        self._before, self._buffers = {}, {}

    def step(self, closure: Callable[[], Any]) -> Any:
        """Both passes and a step of the base optimizer; the loss at θ.

        closure: clears the gradients, computes the loss, runs backward and returns the loss.
        θ is back where it was if the second pass fails.
        """
        with torch.enable_grad():
            loss = closure()
        self.perturb()
        try:
            with torch.enable_grad():
                closure()
        finally:
            self.restore()
        self.base.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.base.zero_grad(set_to_none)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the base optimizer."""
        return self.base.param_groups

    def state_dict(self) -> dict[str, Any]:
        """That of the base optimizer: between steps there is no other state."""
        return self.base.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """That of the base optimizer."""
        self.base.load_state_dict(state)


def _check_finite(gradients: Gradients) -> None:
    finite = torch.stack([gradient.isfinite().all() for gradient in gradients.values()])
    if not bool(finite.all()):
        first = list(gradients)[int(finite.int().argmin())]
        raise FloatingPointError(f"the gradient of {first} is not finite")


def _running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that a pass in training mode changes in normalisation layers."""
    found = {}
    for prefix, module in model.named_modules():
        if getattr(module, "track_running_stats", False):
            for name, buffer in module.named_buffers(prefix, recurse=False):
                found[name] = buffer
    return found

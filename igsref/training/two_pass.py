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

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from igsref.arguments import check_model, check_type, described

Gradients = Mapping[str, Tensor]
Perturbation = Callable[[Gradients], dict[str, Tensor]]
"""Gradients at θ, by the parameters' names ↦ δ by the same names, of the same shapes."""
Combination = Callable[[Tensor, Tensor], Tensor]
"""The gradients of one parameter at θ and at θ + δ ↦ what the base optimizer is given."""


class TwoPass:
    """A base optimizer that is given gradients of two passes.

    base: the optimizer, of parameters of the model; learning-rate schedules are made for it. Where
        it has some of them only, these alone are moved, and δ is made of their gradients.
    settings: what decides δ, by name, "method" its name: part of the state, and of what it prints.
    Running statistics of normalisation layers are those of the first pass: what they become in the
    second, at θ + δ, is undone. Dropout draws anew in each pass. With ``DistributedDataParallel``
    both passes reduce their gradients, so that all processes move by the same δ.
    """

    model: nn.Module
    base: torch.optim.Optimizer
    settings: dict[str, Any]

    def __init__(
        self,
        model: nn.Module,
        base_optimizer: torch.optim.Optimizer,
        perturbation: Perturbation,
        combination: Combination = lambda first, second: second,
        settings: Mapping[str, Any] | None = None,
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
        _check_steps_alone(base_optimizer)
        self.model, self.base = model, base_optimizer
        self.settings = dict(settings or {})
        self._perturbation, self._combination = perturbation, combination
        self._parameters = {named[id(p)]: p for p in chosen}
        self._before: dict[str, tuple[Tensor, Tensor]] = {}
        self._buffers: dict[str, Tensor] = {}

    @torch.no_grad()
    def perturb(self) -> None:
        """Move θ to θ + δ, δ from the gradients that the parameters hold; these are then cleared.

        Parameters without a gradient stay where they are.
        Raises RuntimeError where θ was moved already, or no parameter has a gradient;
        FloatingPointError, with the parameter's name, for a gradient that is not finite; TypeError
        or ValueError for a δ of other names or shapes: θ is then as it was.
        """
        if self._before:
            raise RuntimeError("perturb was called twice without restore between")
        gradients = {n: p.grad for n, p in self._parameters.items() if p.grad is not None}
        if not gradients:
            raise RuntimeError("perturb must follow a backward pass; no parameter has a gradient")
        _check_finite(gradients, "θ")
        changes = self._perturbation(gradients)
        check_like(changes, gradients, "δ")
        for name, change in changes.items():
            parameter = self._parameters[name]
            self._before[name] = (parameter.detach().clone(), gradients[name].clone())
            parameter.add_(change)
        self._buffers = {n: b.clone() for n, b in _running_statistics(self.model).items()}
        self.model.zero_grad()

    @torch.no_grad()
    def restore(self) -> None:
        """Move θ back, bit for bit, and leave the combined gradients for the base optimizer.

        Raises RuntimeError where θ was not moved; FloatingPointError, with the parameter's name,
        for a gradient at θ + δ that is not finite: θ is back then, and the gradients are cleared.
        """
        if not self._before:
            raise RuntimeError("restore must follow perturb")
        first = {name: gradient for name, (_, gradient) in self._before.items()}
        second = {
            name: torch.zeros_like(gradient)
            if (own := self._parameters[name].grad) is None
            else own
            for name, gradient in first.items()
        }
        self._move_back()
        try:
            _check_finite(second, "θ + δ")
        except FloatingPointError:
            self.model.zero_grad()
            raise
        for name, gradient in first.items():
            self._parameters[name].grad = self._combination(gradient, second[name])

    def _move_back(self) -> None:
        """θ and running statistics as they were before ``perturb``."""
        for name, (value, _) in self._before.items():
            self._parameters[name].copy_(value)
        for name, buffer in _running_statistics(self.model).items():
            buffer.copy_(self._buffers[name])
        self._before, self._buffers = {}, {}

    def step(self, closure: Callable[[], Any]) -> Any:
        """Both passes and a step of the base optimizer; the loss at θ.

        closure: clears the gradients, computes the loss, runs backward and returns the loss, a
        number or a tensor of one entry.
        θ is back where it was if the second pass fails, and no step is taken.
        """
        with torch.enable_grad():
            loss = closure()
        _check_loss(loss)
        self.perturb()
        try:
            with torch.enable_grad():
                closure()
        except BaseException:
            with torch.no_grad():
                self._move_back()
            raise
        self.restore()
        self.base.step()
        return loss

    def reading(self, labels: Tensor | None = None) -> AbstractContextManager[None]:
        """Around the passes at θ, of a loop by hand: for methods that look at what the model reads.

        Here it does nothing, so that one loop does for all methods.
        """
        return nullcontext()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.base.zero_grad(set_to_none)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the base optimizer."""
        return self.base.param_groups

    def state_dict(self) -> dict[str, Any]:
        """That of the base optimizer, and the settings: between steps there is no other state."""
        return {"settings": dict(self.settings), "base": self.base.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was.

        Raises ValueError for the state of other settings; RuntimeError between perturb and restore.
        """
        self._check_state(state, "settings", "base")
        self.base.load_state_dict(state["base"])

    def _check_state(self, state: Mapping[str, Any], *names: str) -> None:
        if self._before:
            raise RuntimeError("load_state_dict must not come between perturb and restore")
        check_state(self.settings, state, names)

    def __repr__(self) -> str:
        rest = [f"{name}={value}" for name, value in self.settings.items() if name != "method"]
        name = self.settings.get("method", type(self).__name__)
        return f"{name}({', '.join([*rest, f'base={type(self.base).__name__}'])})"


def check_like(found: Any, gradients: Gradients, what: str) -> None:
    """Raise TypeError or ValueError unless each gradient has a tensor of its shape by its name."""
    if not isinstance(found, Mapping):
        raise TypeError(f"{what} must be tensors by parameters' names; got {described(found)}")
    for name in {**gradients, **found}:
        value, shape = found.get(name), tuple(gradients[name].shape) if name in gradients else None
        if shape is None or not isinstance(value, Tensor) or tuple(value.shape) != shape:
            wanted = f"a tensor of shape {shape}" if shape is not None else "nothing"
            raise ValueError(f"{what} must have {wanted} for {name}; got {described(value)}")


def check_state(own: Mapping[str, Any], state: Any, names: tuple[str, ...]) -> None:
    """Raise ValueError, with what differs, unless a state has these entries and these settings."""
    if not isinstance(state, Mapping) or not all(name in state for name in names):
        got = sorted(map(str, state)) if isinstance(state, Mapping) else described(state)
        raise ValueError(f"state must have the entries {', '.join(names)}; got {got}")
    found = state["settings"]
    differ = [name for name in {**own, **found} if own.get(name) != found.get(name)]
    if differ:
        told = "; ".join(f"{name} {found.get(name)} there, {own.get(name)} here" for name in differ)
        raise ValueError(f"state must be of the same settings; {told}")


def _check_steps_alone(optimizer: torch.optim.Optimizer) -> None:
    """Refuse a base optimizer that evaluates the loss itself, as L-BFGS does."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"base_optimizer must step without a closure; {type(optimizer).__name__} does not"
        )


def _check_loss(loss: Any) -> None:
    one = isinstance(loss, Tensor) and loss.numel() == 1
    if not one and not isinstance(loss, Real):
        raise TypeError(
            "closure must return the loss, a number or a tensor of one entry; got "
            f"{described(loss)}"
        )


def _check_finite(gradients: Gradients, where: str) -> None:
    finite = torch.stack([gradient.isfinite().all() for gradient in gradients.values()])
    if not bool(finite.all()):
        first = list(gradients)[int(finite.int().argmin())]
        raise FloatingPointError(f"the gradient of {first} at {where} is not finite")


def _running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that a pass in training mode changes in normalisation layers."""
    found = {}
    for prefix, module in model.named_modules():
        if getattr(module, "track_running_stats", False):
            for name, buffer in module.named_buffers(prefix, recurse=False):
                found[name] = buffer
    return found

"""A network in other coordinates: f(x; φ⁻¹(η)) as a module whose parameters are η = φ(θ).

The paper's rules (i) F ↦ Φ⁻ᵀ F Φ⁻¹ and (ii) g ↦ g Φ⁻¹, Φ = ∂η/∂θ, are nowhere used: derivatives
are those of the composite function.

Rounding makes another network of φ⁻¹(φ(θ)), maybe of another rank. So what rounding took from it,
r = θ − φ⁻¹(φ(θ)), is given back: the network is f(x; φ⁻¹(η) + r), r constant, and at η = φ(θ) it
has the very floats of θ. (Where φ⁻¹(φ(θ)) lies within half and twice θ, r and the sum are exact.)
That is a bijection as good as φ, φ(θ − r).
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from igsref.flat import flatten, unflatten
from igsref.model import LogitFunction, logit_function
from igsref.transforms.bijections.protocol import Bijection, check_bijection, check_vector

_ALLOWED_LOSS = 2.0**-26


def reparametrize(
    model: nn.Module | tuple[Callable[..., Any], Mapping[str, Tensor]] | LogitFunction,
    bijection: Bijection,
) -> "Reparametrized":
    """The model as a function of η = φ(θ), θ its trainable parameters, in float64, on a copy.

    model: a module in evaluation mode, a pair (function, params), or what
        ``igsref.model.logit_function`` makes of either, to choose parameters or logits.
    bijection: φ, of all entries of θ as one vector, in the order of ``named_parameters()``.

    Raises TypeError for what is no bijection; ValueError for one of another size, for θ where φ is
    no diffeomorphism, and where rounding is so large that φ⁻¹(φ(θ)) has lost half of θ's digits;
    for a model without trainable parameters, and all else that ``logit_function`` refuses.

    >>> from igsref.transforms.bijections import Sinh
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    >>> [name for name, _ in reparametrize(model, Sinh()).named_parameters()]
    ['0.weight', '0.bias']
    """
    check_bijection("bijection", bijection)
    function = model if isinstance(model, LogitFunction) else logit_function(model)
    theta = flatten(function.parameters)
    bijection.check(theta)
    eta = bijection.forward(theta)
    check_vector("the image of theta", eta, len(theta))
    taken = theta - bijection.inverse(eta)
    _check_way_back(theta, taken, bijection.name)
    constants = {**_integer_buffers(model), **function.constants}
    named = unflatten(eta, function.parameters)
    return Reparametrized(function.evaluate, named, constants, bijection, taken)


def _integer_buffers(model: object) -> dict[str, Tensor]:
    """What the function's constants leave out; held too, so that they go to another device."""
    if not isinstance(model, nn.Module):
        return {}
    return {k: v.clone() for k, v in model.named_buffers() if not v.is_floating_point()}


def _check_way_back(theta: Tensor, taken: Tensor, name: str) -> None:
    size = float(theta.abs().max())
    lost = float(taken.abs().max()) / (size or 1.0)
    if not lost <= _ALLOWED_LOSS:
        raise ValueError(
            f"bijection must keep half of the digits of θ, or it would give another network; "
            f"{name} there and back moves θ by {lost:.3g} of its largest entry"
        )


class Reparametrized(nn.Module):
    """A network as a function of η; ``named_parameters()`` has the names and shapes of θ's.

    Frozen parameters and buffers of the network are buffers, under their names. Called as the
    network is, it returns the logits. Whether it is in training mode has no effect.
    """

    def __init__(
        self,
        evaluate: Callable[[Mapping[str, Tensor], tuple[Any, ...], dict[str, Any]], Tensor],
        eta: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        bijection: Bijection,
        taken: Tensor,
    ) -> None:
        super().__init__()
        self._evaluate = evaluate
        self._taken = taken.detach()
        self._bijection = bijection
        self._order = list(eta)
        for name, value in eta.items():
            _hold(self, name, nn.Parameter(value.detach().clone()))
        for name, value in constants.items():
            _hold(self, name, value.detach().clone())

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Logits of the network at θ = φ⁻¹(η) + r."""
        return self._evaluate({**dict(self.named_buffers()), **self.origin()}, args, kwargs)

    def origin(self) -> dict[str, Tensor]:
        """θ = φ⁻¹(η) + r, by name, differentiable in η."""
        held = dict(self.named_parameters(remove_duplicate=False))
        eta = {name: held[name] for name in self._order}
        theta = self._bijection.inverse(flatten(eta))
        return unflatten(theta + self._taken.to(theta), eta)


def _hold(root: nn.Module, name: str, value: Tensor) -> None:
    """Register a tensor under its dotted name, with empty modules on the way there."""
    *path, leaf = name.split(".")
    module = root
    try:
        for step in path:
            if step not in module._modules:
                module.add_module(step, nn.Module())
            module = module.get_submodule(step)
        if isinstance(value, nn.Parameter):
            module.register_parameter(leaf, value)
        else:
            module.register_buffer(leaf, value)
    except (KeyError, AttributeError) as error:
        raise ValueError(
            f"parameter {name!r} has a name that no module can hold: {error}"
        ) from None

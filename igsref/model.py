"""The model as a function θ ↦ logits, in a chosen floating-point type, on a copy.

The user's module keeps its mode, dtype, buffers and parameters: a deep copy is converted and
called through ``torch.func.functional_call``. θ holds every trainable parameter once (tied ones
too), named, in the module's order; buffers and parameters left out are constants.
"""

import copy
import fnmatch
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from igsref.arguments import check_dense
from igsref.layers import Layer, sequential_layers
from igsref.randomness import preserved_random_state

LogitPicker = Callable[[Any], Tensor] | str | int | None
"""How to find the logits in a structured output: a function, a key or attribute, an index."""

_TRAINING_DEPENDENT = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.RNNBase,
    nn.MultiheadAttention,
)


class LogitsError(TypeError, ValueError):
    """The logits are not where they should be in a model's output."""


@dataclass(frozen=True, eq=False)
class LogitFunction:
    """θ ↦ logits for batches of inputs; equal only to itself.

    ``parameters`` is θ, ``constants`` all other parameters and the floating-point buffers; both
    name → tensor of the working dtype. ``evaluate(values, args, kwargs)`` gives the logits for
    values of all of them. ``source`` makes the same function again in another dtype. ``layers``,
    of a sequential network whose output are the logits. ``module``, the converted copy that
    ``evaluate`` calls, for hooks; None for a pair (function, params). ``structure``, the same for
    passes over its calls; None too where θ is no longer its parameters by name, or the logits are
    picked out of its output.
    """

    evaluate: Callable[[Mapping[str, Tensor], tuple[Any, ...], dict[str, Any]], Tensor]
    parameters: dict[str, Tensor]
    constants: dict[str, Tensor]
    source: Callable[[torch.dtype], "LogitFunction"]
    full_parameter_count: int
    layers: tuple[Layer, ...] | None = None
    module: nn.Module | None = None
    structure: nn.Module | None = None

    def call(
        self, theta: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Logits at θ, shape (batch, classes)."""
        return self.evaluate({**self.constants, **theta}, args, kwargs)

    def restricted(self, names: Collection[str]) -> "LogitFunction":
        """The same function of some of its parameters; the others are constants.

        Raises ValueError where none of them is named.
        """
        kept = {name: value for name, value in self.parameters.items() if name in names}
        if not kept:
            raise ValueError(f"names must hold some of {list(self.parameters)}; got {list(names)}")
        rest = {name: value for name, value in self.parameters.items() if name not in kept}
        return replace(
            self,
            parameters=kept,
            constants={**self.constants, **rest},
            source=lambda dtype: self.source(dtype).restricted(names),
        )

    @property
    def device(self) -> torch.device:
        """Where the computation runs: the device of the parameters."""
        return next(iter(self.parameters.values())).device

    @property
    def parameter_count(self) -> int:
        """m, the number of entries of θ."""
        return sum(tensor.numel() for tensor in self.parameters.values())


def placed_model(model: Any, device: torch.device) -> Any:
    """A copy of a model on a device; what is no model comes back as it is.

    Raises ValueError for a module that cannot be copied.
    """
    if isinstance(model, nn.Module):
        try:
            return copy.deepcopy(model).to(device)
        except (TypeError, RuntimeError, ValueError) as error:
            raise ValueError(f"model must be one that can be copied to {device}; {error}") from None
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], Mapping):
        values = model[1].items()
        return model[0], {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values}
    return model


def logit_function(
    model: nn.Module | tuple[Callable[..., Any], Mapping[str, Tensor]],
    *,
    parameters: str | Sequence[str] | None = None,
    logits: LogitPicker = None,
    dtype: torch.dtype = torch.float64,
) -> LogitFunction:
    """A functional view of a module, or of a pair (function, params) called as function(θ, x).

    parameters: name pattern(s) in the shell's notation that choose a subset of θ.
    logits: picks the logits out of a structured output (see ``LogitPicker``).

    Raises TypeError for what is no model and for complex or quantised parameters; ValueError for
    a module in training mode whose output then depends on chance or on other samples, for a
    pattern that matches nothing, for no trainable parameters, for non-finite parameters, for a
    module that cannot be copied.

    Forward hooks of the module stay on the copy, since they may change its output; what they keep
    of a call, they keep of the library's calls too.
    """
    if isinstance(model, nn.Module):
        _check_kind(model)
        _check_mode(model)
        _check_not_quantised(model)
        values, trainable = _named(model)
    elif isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        values, trainable = _checked_mapping(model[1])
    else:
        raise TypeError(
            "model must be a torch.nn.Module or a pair (function, params); "
            f"got {type(model).__name__}"
        )
    chosen = _choose(trainable, parameters)
    for name in sorted({*chosen, *values}):
        _check_tensor(name, values[name])
    if not all(_has_float64(value.device) for value in values.values()):
        warnings.warn(
            "MPS has no float64: computing on the CPU instead", RuntimeWarning, stacklevel=2
        )

    layers = None
    if isinstance(model, nn.Module) and logits is None:
        layers = sequential_layers(model)

    def build(dtype: torch.dtype) -> LogitFunction:
        module = None
        if isinstance(model, nn.Module):
            module, converted = _converted_copy(model, dtype), _converted(model, dtype)
            call = _module_call(module)
        else:
            call, converted = model[0], {k: _convert(v, dtype) for k, v in values.items()}
        constants = {k: v for k, v in converted.items() if k not in chosen}
        theta = {name: converted[name] for name in chosen}

        def evaluate(
            values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Tensor:
            return _pick(call(values, *args, **kwargs), logits)

        total = sum(values[name].numel() for name in trainable)
        structure = module if logits is None else None
        return LogitFunction(evaluate, theta, constants, build, total, layers, module, structure)

    return build(dtype)


def _named(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, set[str]]]:
    """All parameters by first name, and the trainable ones with every name they go by."""
    values: dict[str, Tensor] = dict(model.named_parameters())
    first = {id(tensor): name for name, tensor in values.items()}
    aliases: dict[str, set[str]] = {name: {name} for name in values}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        aliases[first[id(tensor)]].add(name)
    return values, {name: aliases[name] for name, v in values.items() if v.requires_grad}


def _checked_mapping(params: Any) -> tuple[dict[str, Tensor], dict[str, set[str]]]:
    if not isinstance(params, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in params.items()
    ):
        raise TypeError(
            "params of a pair (function, params) must be a mapping from names to tensors; "
            f"got {type(params).__name__}"
        )
    return dict(params), {name: {name} for name in params}


def _choose(trainable: Mapping[str, set[str]], patterns: str | Sequence[str] | None) -> list[str]:
    """Names of θ in order; a parameter is chosen if any of its names matches any pattern."""
    if not trainable:
        raise ValueError(
            "model has no trainable parameters (none has requires_grad=True), "
            "so there is no θ to measure"
        )
    if patterns is None:
        return list(trainable)
    matched = [_matched(trainable, pattern) for pattern in _patterns(patterns)]
    return [name for name in trainable if any(name in names for names in matched)]


def _patterns(patterns: Any) -> list[str]:
    wanted = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(wanted, Sequence) or not all(isinstance(entry, str) for entry in wanted):
        raise TypeError(f"parameters must be a name pattern or a list of them; got {patterns!r}")
    if not wanted:
        raise ValueError(f"parameters must hold at least one name pattern; got {patterns!r}")
    return list(wanted)


def _matched(trainable: Mapping[str, set[str]], pattern: str) -> set[str]:
    """Names of the parameters that a pattern matches, by any of their names; at least one."""
    names = {
        name
        for name, aliases in trainable.items()
        if any(fnmatch.fnmatchcase(alias, pattern) for alias in aliases)
    }
    if not names:
        shown = ", ".join(list(trainable)[:8]) + (", …" if len(trainable) > 8 else "")
        raise ValueError(
            f"parameters={pattern!r} matches none of the trainable parameters: {shown}"
        )
    return names


def _check_kind(model: nn.Module) -> None:
    """Refuse modules that torch cannot call with other parameters."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise TypeError(
            f"model is a {type(model).__name__}, which spreads batches over devices; "
            "pass model.module"
        )
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"{name or 'the model'} is a {type(module).__name__}, whose parameters torch.func "
                "cannot replace; pass the module that it was made from"
            )


def _check_mode(model: nn.Module) -> None:
    """Refuse training mode where it changes the function."""
    offending = [
        f"{name or 'the model'} ({type(module).__name__})"
        for name, module in model.named_modules()
        if module.training
        and isinstance(module, _TRAINING_DEPENDENT)
        and getattr(module, "p", getattr(module, "dropout", 1.0)) != 0
    ]
    if offending:
        raise ValueError(
            "model is in training mode, where its output depends on chance or on the other "
            f"samples of the batch: {', '.join(offending[:5])}"
            f"{', …' if len(offending) > 5 else ''}. Call model.eval() first"
        )


def _check_not_quantised(model: nn.Module) -> None:
    """Quantised modules keep their weights outside parameters(); look at the whole state."""
    for name, value in model.state_dict().items():
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(part, Tensor) and part.is_quantized for part in parts):
            raise TypeError(
                f"parameter {name} is quantised; derivatives need floating-point parameters"
            )


def _check_tensor(name: str, value: Tensor) -> None:
    if nn.parameter.is_lazy(value):
        raise ValueError(
            f"parameter {name} has no shape yet; call the model once, so that its lazy layers get "
            "their parameters"
        )
    check_dense(f"parameter {name}", value)
    if value.is_meta:
        raise ValueError(f"parameter {name} is on the meta device, so it has no values")
    if value.is_quantized or not (value.is_floating_point() or value.is_complex()):
        raise TypeError(
            f"parameter {name} has dtype {value.dtype} (quantised or integer); "
            "derivatives need floating-point parameters"
        )
    if value.is_complex():
        raise TypeError(f"parameter {name} is complex ({value.dtype}); it must be real")
    bad = (~torch.isfinite(value)).nonzero()
    if len(bad):
        where = bad[0].tolist()
        raise ValueError(
            f"parameter {name} must be finite; {name}{where} is {value[*where].item()}"
        )


def _has_float64(device: torch.device) -> bool:
    """Every device but MPS."""
    return device.type != "mps"


def working_device(device: torch.device) -> torch.device:
    """Where what lies on a device is computed with: there if it has float64, else on the CPU."""
    return device if _has_float64(device) else torch.device("cpu")


def _convert(value: Tensor, dtype: torch.dtype) -> Tensor:
    # First the device, then the dtype, which the old device may lack.
    return value.detach().to(working_device(value.device)).to(dtype).clone()


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy; activations that a module keeps, which torch does not copy, go in detached."""
    kept = [
        value
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in kept}
    try:
        with preserved_random_state():
            return copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            f"model must be one that copy.deepcopy copies; it raised {type(error).__name__}: "
            f"{error}. Does it keep activations of an earlier call? Delete or detach them first"
        ) from error


def _converted_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    duplicate = _copied(model)
    duplicate = duplicate.requires_grad_(False)
    device = next(duplicate.parameters()).device
    return duplicate.to(working_device(device)).to(dtype)


def _module_call(module: nn.Module) -> Callable[..., Any]:
    def call(values: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(module, dict(values), args, kwargs)

    return call


def _converted(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Parameters and floating-point buffers."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: _convert(value, dtype) for name, value in named if value.is_floating_point()}


def _pick(output: Any, logits: LogitPicker) -> Tensor:
    """The logits in the model's output."""
    if callable(logits):
        output = logits(output)
    elif logits is not None:
        output = _entry(output, logits)
    elif not isinstance(output, Tensor) and hasattr(output, "logits"):
        output = output.logits
    if not isinstance(output, Tensor):
        raise LogitsError(
            f"model must return logits as a tensor; got {type(output).__name__}. "
            "Say where they are: logits=lambda output: …, a key, an attribute or an index"
        )
    return output


def _entry(output: Any, logits: str | int) -> Any:
    """The entry of a structured output under a key, an attribute's name or an index."""
    try:
        if isinstance(logits, str) and not isinstance(output, Mapping):
            return getattr(output, logits)
        return output[logits]
    except (AttributeError, LookupError, TypeError) as error:
        raise LogitsError(
            f"logits={logits!r} is not in the model's output, a {type(output).__name__} with "
            f"{_entries(output)}"
        ) from error


def _entries(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"the keys {list(output)}"
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        return f"{len(output)} entries"
    return f"the attributes {[name for name in dir(output) if not name.startswith('_')][:20]}"

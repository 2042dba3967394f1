"""What is done to a network, its data and its options, one change at a time, by name.

ODD changes leave a call that could be taken, though few people would make it; BROKEN ones are
mistakes. Which of the two a call has become is for the library to say, not for these tables.
"""

import random
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from verification.fuzzing.subjects import Subject, Wrapped

Change = Callable[[Subject, random.Random], None]
NAN, INFINITY = float("nan"), float("inf")


class Inapplicable(Exception):
    """A change that has nothing to work on here."""


class Custom(torch.autograd.Function):
    """x ↦ x, in the old style that torch.func refuses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0]


class Failing(Custom):
    """The same with no way back."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise KeyError("backward")


class Misshapen(Custom):
    """The same with a gradient of another shape."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0][..., :1, :1]


class Stale(Dataset):
    """A dataset whose length promises what is not there."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(3), torch.tensor(0)


def _parameters(subject: Subject) -> list[Tensor]:
    if isinstance(subject.model, nn.Module):
        found = [value for value in subject.model.parameters() if value.numel()]
    elif isinstance(subject.model, tuple):
        found = list(subject.model[1].values())
    else:
        found = []
    if not found:
        raise Inapplicable("no parameters")
    return found


def _network(subject: Subject) -> nn.Module:
    if not isinstance(subject.model, nn.Module):
        raise Inapplicable("no module")
    return subject.model


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise Inapplicable("no tensor")
    return value


# Weights.


def entry(value: float) -> Change:
    """One weight becomes that number."""

    def change(subject: Subject, draw: random.Random) -> None:
        with torch.no_grad():
            flat = draw.choice(_parameters(subject)).view(-1)
            flat[draw.randrange(len(flat))] = value

    return change


def every(function: Callable[[Tensor], Any], *, some: bool = False) -> Change:
    """Each tensor of weights (or one of them) changed in place."""

    def change(subject: Subject, draw: random.Random) -> None:
        parameters = _parameters(subject)
        with torch.no_grad():
            for value in [draw.choice(parameters)] if some else parameters:
                function(value)

    return change


def _twin_rows(subject: Subject, draw: random.Random) -> None:
    with torch.no_grad():
        for value in _parameters(subject)[:2]:
            value[-1] = value[0]


def _frozen(subject: Subject, draw: random.Random, *, all_of_them: bool) -> None:
    parameters = list(_network(subject).parameters())
    kept = draw.randrange(len(parameters))
    for number, value in enumerate(parameters):
        value.requires_grad_(not all_of_them and number == kept)


def _replaced(make: Callable[[Tensor], Tensor]) -> Change:
    """One parameter becomes another tensor."""

    def change(subject: Subject, draw: random.Random) -> None:
        if isinstance(subject.model, tuple):
            function, params = subject.model
            subject.model = function, {name: make(value) for name, value in params.items()}
            return
        named = list(_network(subject).named_parameters())
        name, value = draw.choice(named)
        holder = _network(subject).get_submodule(name.rpartition(".")[0])
        with torch.no_grad():
            new = make(value.detach())
        floating = new.is_floating_point() or new.is_complex()
        setattr(holder, name.rpartition(".")[2], nn.Parameter(new, requires_grad=floating))

    return change


# The network.


def model(function: Callable[[Any], Any]) -> Change:
    """Another object in the network's place."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.model = function(subject.model)

    return change


def module(function: Callable[[nn.Module], Any]) -> Change:
    """Something done to a network that is a module; what comes back takes its place."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.model = function(_network(subject)) or subject.model

    return change


def output(function: Callable[[Any], Any]) -> Change:
    """The network's output passed through a function."""
    return module(lambda layer: Wrapped(layer, _same, function).eval())


def before(function: Callable[[Tensor], Any]) -> Change:
    """The network's input passed through a function."""
    return module(lambda layer: Wrapped(layer, function, _same).eval())


def _same(value: Any) -> Any:
    return value


def _appended(*layers: Callable[[], nn.Module], mode: bool = False) -> Change:
    def append(layer: nn.Module) -> nn.Module:
        made = [make().double() for make in layers]
        return nn.Sequential(layer.eval(), *(new.train(mode) for new in made))

    return module(append)


def _norm(variance: float) -> nn.Module:
    """Batch normalisation that believes to have seen this variance."""
    layer = nn.BatchNorm1d(3)
    layer.running_var = torch.full((3,), variance)
    return layer


def _hooked(kind: str, hook: Callable) -> Change:
    def change(subject: Subject, draw: random.Random) -> None:
        modules = list(_network(subject).modules())
        getattr(draw.choice(modules), f"register_{kind}")(hook)

    return change


def _extra(value: Tensor) -> Change:
    def register(layer: nn.Module) -> None:
        layer.register_parameter("extra", nn.Parameter(value.clone()))

    return module(register)


def _counting(layer: nn.Module) -> nn.Module:
    """Every call adds to what comes out."""
    calls: list[int] = []
    return Wrapped(layer, _same, lambda f: f + len(calls) * (calls.append(1) is None)).eval()


def _remembering(layer: nn.Module) -> None:
    layer.register_buffer("seen", torch.zeros(()))
    layer.register_forward_hook(lambda module, x, y: y + module.seen.add_(1.0))


def _parametrised(kind: str) -> Change:
    def change(subject: Subject, draw: random.Random) -> None:
        found = [m for m in _network(subject).modules() if isinstance(m, nn.Linear)]
        if not found:
            raise Inapplicable("no linear layer")
        getattr(nn.utils.parametrizations, kind)(draw.choice(found))

    return change


def _raising(error: BaseException) -> Callable[[Any], Any]:
    def fail(value: Any) -> Any:
        raise error

    return fail


def _after(calls: int, function: Callable[[Tensor], Any]) -> Callable[[nn.Module], nn.Module]:
    """Well behaved for so many calls, and no longer."""

    def wrapped(layer: nn.Module) -> nn.Module:
        seen: list[int] = []

        def after(f: Tensor) -> Any:
            seen.append(1)
            return f if len(seen) <= calls else function(f)

        return Wrapped(layer, _same, after).eval()

    return wrapped


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _one(value: float) -> Callable[[Tensor], Tensor]:
    def change(f: Tensor) -> Tensor:
        mask = torch.zeros_like(f)
        mask[..., -1] = 1.0
        return torch.where(mask > 0, value, f)

    return change


def _inferred(layer: nn.Module) -> nn.Module:
    return Wrapped(layer, _same, torch.inference_mode()(lambda f: f + 1)).eval()


Output = namedtuple("Output", "logits other")

# Data and options.


def inputs(function: Callable[[Tensor], Any]) -> Change:
    """x passed through a function."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.x = function(_tensor(subject.x))

    return change


def labels(function: Callable[[Tensor], Any]) -> Change:
    """y passed through a function."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.y = function(_tensor(subject.y))

    return change


def both(function: Callable[[Tensor], Tensor]) -> Change:
    """x and y, each passed through the same function."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.x, subject.y = function(_tensor(subject.x)), function(_tensor(subject.y))

    return change


def form(function: Callable[[Any, Any], Any]) -> Change:
    """Another form of data."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.form = function

    return change


def option(name: str, make: Callable[[Subject], Any]) -> Change:
    """An option of the problem, computed from the subject at each call."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.options[name] = make

    return change


def _spoilt(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        copy.view(-1)[-1] = value
        return copy

    return change


def _used_up(x: Any, y: Any) -> Any:
    batches = iter([(x, y)])
    list(batches)
    return batches


def _pool_of(subject: Subject) -> Tensor:
    return torch.cat([_tensor(subject.x), _tensor(subject.x).flip(0)])


def _both_options(members: Callable[[Subject], Any]) -> Change:
    """A pool that is the data, and members that are said to be its rows."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.options["fisher_data"] = lambda subject: subject.x
        subject.options["members"] = members

    return change


def _probabilities(value: Callable[[int, int], Tensor]) -> Change:
    """Class probabilities as labels."""

    def change(subject: Subject, draw: random.Random) -> None:
        classes = _parameters(subject)[-1].shape[0]
        subject.y = value(len(_tensor(subject.x)), classes)

    return change


def _uniform(samples: int, classes: int) -> Tensor:
    return torch.full((samples, classes), 1 / classes, dtype=torch.float64)


def context(make: Callable[[], Any]) -> Change:
    """The call is made inside a context of torch's."""

    def change(subject: Subject, draw: random.Random) -> None:
        subject.context = make

    return change


def _memory(value: Any) -> Change:
    def change(subject: Subject, draw: random.Random) -> None:
        subject.memory = {"memory": value}

    return change


def _digits(value: Any) -> Change:
    def change(subject: Subject, draw: random.Random) -> None:
        subject.digits = {"digits": value}

    return change


def _options(name: str, values: dict[str, Any]) -> dict[str, Change]:
    """One change for each value."""
    return {f"{name} {key}": option(name, lambda subject, v=v: v) for key, v in values.items()}


ODD: dict[str, Change] = {
    "zero tensor": every(Tensor.zero_, some=True),
    "zero network": every(Tensor.zero_),
    "negative zeros": every(lambda v: v.zero_().neg_(), some=True),
    "dead units": every(lambda v: v.sub_(1e3), some=True),
    "small integers": every(lambda v: v.round_()),
    "tensor × 1e8": every(lambda v: v.mul_(1e8), some=True),
    "tensor × 1e-8": every(lambda v: v.mul_(1e-8), some=True),
    "tensor × 1e150": every(lambda v: v.mul_(1e150), some=True),
    "tensor × 1e-160": every(lambda v: v.mul_(1e-160), some=True),
    "denormal tensor": every(lambda v: v.mul_(2.0**-1060), some=True),
    "network × 30": every(lambda v: v.mul_(30.0)),
    "denormal weight": entry(5e-324),
    "largest weight": entry(1.7976931348623157e308),
    "weight of 1e20": entry(1e20),
    "twin rows": _twin_rows,
    "one tensor trained": lambda s, d: _frozen(s, d, all_of_them=False),
    "stored the other way": _replaced(lambda v: v.mT.contiguous().mT if v.ndim == 2 else v),
    "spread out": _replaced(lambda v: v.flatten()[:1].expand(v.shape)),
    "float16": model(lambda m: m.half() if isinstance(m, nn.Module) else m),
    "bfloat16": model(lambda m: m.bfloat16() if isinstance(m, nn.Module) else m),
    "float32": model(lambda m: m.float() if isinstance(m, nn.Module) else m),
    "one float32 tensor": _replaced(lambda v: v.float()),
    "training mode": module(lambda m: m.train()),
    "batch norm of no variance": _appended(lambda: _norm(0.0)),
    "dropout evaluated": _appended(lambda: nn.Dropout(0.5)),
    "dropout of nothing, training": _appended(lambda: nn.Dropout(0.0), mode=True),
    "identity": _appended(nn.Identity),
    "softmax inside": _appended(lambda: nn.Softmax(dim=-1)),
    "sigmoid inside": _appended(nn.Sigmoid),
    "relu at the end": _appended(nn.ReLU),
    "empty layers": _appended(lambda: nn.Sequential()),
    "nested": module(lambda m: nn.Sequential(nn.Sequential(m))),
    "zero-size parameter": _extra(torch.zeros(0, 3)),
    "unused parameter": _extra(torch.ones(2, 2)),
    "scalar parameter": _extra(torch.tensor(2.0)),
    "silent hook": _hooked("forward_hook", lambda m, x, y: None),
    "doubling hook": _hooked("forward_hook", lambda m, x, y: 2 * y),
    "silent pre-hook": _hooked("forward_pre_hook", lambda m, x: None),
    "backward hook": _hooked("full_backward_hook", lambda m, x, y: None),
    "backward hook that changes": _hooked(
        "full_backward_hook", lambda m, x, y: tuple(None if v is None else 3 * v for v in x)
    ),
    "weight norm": _parametrised("weight_norm"),
    "spectral norm": _parametrised("spectral_norm"),
    "orthogonal": _parametrised("orthogonal"),
    "output in a mapping": output(lambda f: {"logits": f}),
    "output with a field": output(lambda f: Output(f, None)),
    "abs": output(torch.abs),
    "sign": output(torch.sign),
    "root at 0": output(lambda f: (f - f).sqrt() + f),
    "norm at 0": output(lambda f: f * (f - f).norm()),
    "detached": output(Tensor.detach),
    "one logit detached": output(lambda f: torch.cat([f[:, :1].detach(), f[:, 1:]], dim=1)),
    "sorted": output(lambda f: f.sort(dim=-1).values),
    "old autograd function": output(Custom.apply),
    "shifted by 1e6": output(lambda f: f + 1e6),
    "a logit of 300": output(_one(300.0)),
    "logits of 1e300": output(lambda f: f * 0 + 1e300),
    "one sample": both(lambda v: v[:1]),
    "each sample twice": both(lambda v: torch.cat([v, v])),
    "equal samples": inputs(lambda x: x[:1].expand_as(x)),
    "inputs of zero": inputs(torch.zeros_like),
    "inputs of 1e100": inputs(lambda x: x * 1e100),
    "inputs of 1e-310": inputs(lambda x: x * 1e-310),
    "inputs of negative zero": inputs(lambda x: -torch.zeros_like(x)),
    "inputs of float32": inputs(lambda x: x.float() if x.is_floating_point() else x),
    "inputs backwards": inputs(lambda x: x.flip(0)),
    "inputs stored the other way": inputs(lambda x: x.mT.contiguous().mT),
    "inputs with gradients": inputs(lambda x: x.clone().requires_grad_(x.is_floating_point())),
    "inputs that follow from others": inputs(lambda x: x.clone().requires_grad_() * 2),
    "int32 labels": labels(lambda y: y.int()),
    "uint8 labels": labels(lambda y: y.to(torch.uint8)),
    "equal labels": labels(torch.zeros_like),
    "uniform probabilities": _probabilities(_uniform),
    "one-hot probabilities": _probabilities(lambda n, c: torch.eye(c).repeat(n, 1)[:n].double()),
    "a list of batches": form(lambda x, y: [(x[:2], y[:2]), (x[2:], y[2:])]),
    "a generator": form(lambda x, y: (batch for batch in [(x, y)])),
    "a mapping": form(lambda x, y: {"input": x, "labels": y}),
    "a dataset": form(lambda x, y: TensorDataset(x, y)),
    "a loader": form(lambda x, y: DataLoader(TensorDataset(x, y), batch_size=2)),
    "a pool": option("fisher_data", _pool_of),
    "a pool of batches": option("fisher_data", lambda s: [s.x, s.x[:1]]),
    "a pool read once": option("fisher_data", lambda s: iter([s.x])),
    "a pool with labels": option("fisher_data", lambda s: [(s.x, s.y)]),
    "a large rank bound": option("rank_bound", lambda s: 10**6),
    "a rank bound of numpy": option("rank_bound", lambda s: np.int64(1000)),
    "a vast rank bound": option("rank_bound", lambda s: 10**40),
    "weights alone": option("parameters", lambda s: "*weight"),
    "all by pattern": option("parameters", lambda s: ["*", "*"]),
    "an odd pattern": option("parameters", lambda s: "[!x]*"),
    "bernoulli": option("likelihood", lambda s: "bernoulli"),
    "gaussian": option("likelihood", lambda s: "gaussian"),
    "no picker": option("logits", lambda s: None),
    "a picker": option("logits", lambda s: lambda output: output),
    "little memory": _memory(2 * 10**8),
    "vast memory": _memory(10**40),
    "one digit": _digits(1),
    "many digits": _digits(120),
    "without gradients": context(torch.no_grad),
    "for inference": context(torch.inference_mode),
    "looking for anomalies": context(torch.autograd.detect_anomaly),
    "automatic precision": context(lambda: torch.autocast("cpu", torch.bfloat16)),
    "half precision by default": context(lambda: _default_dtype(torch.float16)),
    "float64 by default": context(lambda: _default_dtype(torch.float64)),
}

BROKEN: dict[str, Change] = {
    "NaN weight": entry(NAN),
    "infinite weight": entry(-INFINITY),
    "frozen": lambda s, d: _frozen(s, d, all_of_them=True),
    "complex tensor": _replaced(lambda v: v.to(torch.complex128)),
    "integer tensor": _replaced(lambda v: v.long()),
    "meta tensor": _replaced(lambda v: v.to("meta")),
    "sparse tensor": _replaced(lambda v: v.to_sparse()),
    "tensor of another shape": _replaced(lambda v: v.flatten()),
    "tensor without size": _replaced(lambda v: v[:0]),
    "lazy layer": _appended(lambda: nn.LazyLinear(3)),
    "layer of another width": _appended(lambda: nn.Linear(7, 3)),
    "layer without inputs": _appended(lambda: nn.Linear(0, 3)),
    "layer without outputs": _appended(lambda: nn.Linear(3, 0)),
    "dropout, training": _appended(lambda: nn.Dropout(0.5), mode=True),
    "batch norm, training": _appended(lambda: nn.BatchNorm1d(3), mode=True),
    "statistics of the batch": _appended(lambda: nn.BatchNorm1d(3, track_running_stats=False)),
    "negative running variance": _appended(lambda: _norm(-1.0)),
    "on no device": module(lambda m: m.to("meta")),
    "parallel": module(nn.DataParallel),
    "a string": model(lambda m: "resnet"),
    "nothing": model(lambda m: None),
    "a class": model(type),
    "a bare function": model(lambda m: lambda x: x),
    "a pair of nothing": model(lambda m: (None, None)),
    "a pair without parameters": model(lambda m: (lambda p, x: x, {})),
    "a pair with numbers": model(lambda m: (lambda p, x: x, {"w": 1.0})),
    "a pair with other names": model(lambda m: (lambda p, x: x, {1: torch.ones(3)})),
    "a pair of three": model(lambda m: (lambda p, x: x, {"w": torch.ones(3)}, 1)),
    "a list of layers": model(lambda m: [m]),
    "hook that raises": _hooked("forward_hook", lambda m, x, y: {}["hook"]),
    "hook that returns nothing of use": _hooked("forward_hook", lambda m, x, y: "text"),
    "pre-hook that raises": _hooked("forward_pre_hook", lambda m, x: [][0]),
    "chance": output(lambda f: f + torch.rand(())),
    "python's chance": output(lambda f: f * random.random()),
    "numpy's chance": output(lambda f: f + np.random.rand()),
    "counting calls": module(_counting),
    "counting calls in a buffer": module(_remembering),
    "NaN after two calls": module(_after(2, lambda f: f * NAN)),
    "NaN after five calls": module(_after(5, lambda f: f * NAN)),
    "another class after one call": module(_after(1, lambda f: torch.cat([f, f[:, :1]], dim=1))),
    "another class after three calls": module(_after(3, lambda f: torch.cat([f, f[:, :1]], dim=1))),
    "failing after one call": module(_after(1, _raising(IndexError("model")))),
    "failing after three calls": module(_after(3, _raising(IndexError("model")))),
    "failing after five calls": module(_after(5, _raising(IndexError("model")))),
    "inputs changed in place": before(lambda x: x.mul_(2)),
    "outputs changed in place": output(lambda f: f.mul_(2)),
    "neighbours": output(lambda f: f + f.roll(1, 0)),
    "mean of the batch": output(lambda f: f - f.mean(0)),
    "output NaN": output(lambda f: f * NAN),
    "one output NaN": output(_one(NAN)),
    "one output infinite": output(_one(INFINITY)),
    "output of one axis": output(lambda f: f[:, 0]),
    "output of three axes": output(lambda f: f[:, :, None]),
    "output of none": output(lambda f: f.sum()),
    "output for fewer": output(lambda f: f[1:]),
    "output of no class": output(lambda f: f[:, :0]),
    "output of one class": output(lambda f: f[:, :1]),
    "output of float32": output(lambda f: f.float()),
    "float32 on the way": before(lambda x: x.float().to(x.dtype)),
    "output of integers": output(lambda f: f.long()),
    "complex output": output(lambda f: f.to(torch.complex128)),
    "sparse output": output(lambda f: f.to_sparse()),
    "output of numpy": output(lambda f: f.detach().numpy()),
    "output in a list": output(lambda f: [f]),
    "output of nothing": output(lambda f: None),
    "output on no device": output(lambda f: f.to("meta")),
    "failing": output(_raising(KeyError("model"))),
    "failing without a word": output(_raising(Exception())),
    "failing to go on": output(_raising(StopIteration())),
    "failing backwards": output(Failing.apply),
    "another shape backwards": output(Misshapen.apply),
    "an inference inside": module(_inferred),
    "labels too large": labels(_spoilt(99)),
    "labels negative": labels(lambda y: -y.double().long() - 1),
    "labels fewer": labels(lambda y: y[1:]),
    "labels in a column": labels(lambda y: y[:, None]),
    "labels of one number": labels(lambda y: y.flatten()[0]),
    "labels of booleans": labels(lambda y: y > 0),
    "labels complex": labels(lambda y: y.to(torch.complex64)),
    "labels float": labels(lambda y: y.double()),
    "labels NaN": labels(lambda y: y.double() * NAN),
    "labels sparse": labels(lambda y: y.to_sparse()),
    "labels on no device": labels(lambda y: y.to("meta")),
    "labels in a list": labels(lambda y: y.tolist()),
    "labels of numpy": labels(lambda y: y.numpy()),
    "no labels": labels(lambda y: None),
    "probabilities of 2": _probabilities(lambda n, c: 2 * _uniform(n, c)),
    "probabilities of 0": _probabilities(lambda n, c: 0 * _uniform(n, c)),
    "probabilities just below 1": _probabilities(lambda n, c: (1 - 1e-12) * _uniform(n, c)),
    "probability NaN": _probabilities(lambda n, c: _spoilt(NAN)(_uniform(n, c))),
    "probability negative": _probabilities(lambda n, c: _spoilt(-0.5)(_uniform(n, c))),
    "probabilities for other classes": _probabilities(lambda n, c: _uniform(n, c + 1)),
    "targets of 1e200": labels(lambda y: y.double() * 1e200 + 1e200),
    "inputs NaN": inputs(_spoilt(NAN)),
    "inputs infinite": inputs(_spoilt(INFINITY)),
    "inputs complex": inputs(lambda x: x.to(torch.complex128)),
    "inputs of booleans": inputs(lambda x: x > 0),
    "inputs of integers": inputs(lambda x: x.long()),
    "inputs negative": inputs(lambda x: -x.abs() - 1),
    "inputs sparse": inputs(lambda x: x.to_sparse()),
    "inputs on no device": inputs(lambda x: x.to("meta")),
    "inputs of another width": inputs(lambda x: torch.cat([x, x], dim=-1)),
    "inputs of no width": inputs(lambda x: x[..., :0]),
    "inputs of one number": inputs(lambda x: x.flatten()[0]),
    "inputs of more axes": inputs(lambda x: x[None]),
    "inputs of numpy": inputs(lambda x: x.detach().numpy()),
    "inputs in a list": inputs(lambda x: x.tolist()),
    "nested inputs": inputs(lambda x: torch.nested.nested_tensor(list(x))),
    "no samples": both(lambda v: v[:0]),
    "data of nothing": form(lambda x, y: None),
    "data in a string": form(lambda x, y: "data"),
    "data of a number": form(lambda x, y: 3.5),
    "data of a class": form(lambda x, y: dict),
    "data of three": form(lambda x, y: (x, y, y)),
    "data without labels": form(lambda x, y: {"input": x}),
    "data of labels": form(lambda x, y: {"labels": y}),
    "data of odd names": form(lambda x, y: {1: x, "labels": y}),
    "data of other names": form(lambda x, y: {"pixels": x, "labels": y}),
    "empty data": form(lambda x, y: []),
    "empty mapping": form(lambda x, y: {}),
    "empty dataset": form(lambda x, y: Stale()),
    "a generator read before": form(_used_up),
    "batches that differ": form(lambda x, y: [(x, y), (x[..., :1], y)]),
    "batches of two dtypes": form(lambda x, y: [(x, y), (x, y.double())]),
    "batches of odd things": form(lambda x, y: [(x, y), None]),
    "inputs alone": form(lambda x, y: x),
    "inputs twice": form(lambda x, y: ((x, x), y)),
    "no inputs": form(lambda x, y: ((), y)),
    "a pool of another width": option("fisher_data", lambda s: s.x[..., :1]),
    "a pool of nothing": option("fisher_data", lambda s: s.x[:0]),
    "a pool of NaN": option("fisher_data", lambda s: s.x * NAN),
    "a pool of another dtype": option("fisher_data", lambda s: s.x.half()),
    "a pool in a mapping": option("fisher_data", lambda s: {"x": s.x}),
    "a pool read before": option("fisher_data", lambda s: _used_up(s.x, s.y)),
    "members out of range": _both_options(lambda s: torch.arange(len(s.x)) + 1),
    "members twice": _both_options(lambda s: torch.zeros(len(s.x), dtype=torch.int64)),
    "members of others": _both_options(lambda s: torch.arange(len(s.x)).flip(0)),
    "members negative": _both_options(lambda s: -torch.arange(len(s.x)) - 1),
    "members of floats": _both_options(lambda s: torch.arange(float(len(s.x)))),
    "members of booleans": _both_options(lambda s: torch.ones(len(s.x), dtype=torch.bool)),
    "members on no device": _both_options(lambda s: torch.arange(len(s.x), device="meta")),
    "members in a list": _both_options(lambda s: list(range(len(s.x)))),
    "members without a pool": option("members", lambda s: torch.arange(len(s.x))),
    **_options("likelihood", {"of nothing": None, "unknown": "poisson", "empty": "", "number": 3}),
    **_options("likelihood", {"class": dict, "list": ["gaussian"], "bytes": b"gaussian"}),
    **_options("parameters", {"number": 3, "empty": [], "of none": "nope", "bytes": b"*"}),
    **_options("parameters", {"mixed": ["*", 3], "blank": "", "bracket": "[", "mapping": {}}),
    **_options("logits", {"key": "nope", "index": 99, "fraction": 1.5, "list": [0], "true": True}),
    **_options("logits", {"dunder": "__class__", "method": "sum", "shape": "shape", "class": int}),
    "picker that raises": option("logits", lambda s: lambda output: {}["logits"]),
    **_options("fisher_data", {"number": 3, "text": "pool", "empty": [], "none inside": [None]}),
    **_options("fisher_data", {"of numbers": [1.0], "empty tuple": (), "empty mapping": {}}),
    **_options("rank_bound", {"negative": -1, "zero": 0, "fraction": 2.5, "text": "full"}),
    **_options("rank_bound", {"NaN": NAN, "true": True, "one": 1, "list": [3], "tensor": 3 * [0]}),
    **_options("rank_limit", {"of 3": 3}),
    **{f"memory {value!r}": _memory(value) for value in (0, -1, 1, 1.5, "1 GB", True, NAN, [])},
    **{f"digits {value!r}": _digits(value) for value in (0, -1, 1.5, "all", True, NAN, 10**9, [])},
}

"""Every mistake that the library refuses: the exception, the argument's name, and what came."""

import random
import warnings

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import igsref
from igsref.jacobian import rows
from tests.strategies import classes, gaussian, mlp


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch):
    """Without the annotations that pytest executes: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


X, Y = gaussian(1, 8, 4), classes(2, 8, 3)
NAN, INFINITY = float("nan"), float("inf")


def model():
    return mlp(0, [4, 5, 3], nn.Tanh)


def measured(network=None, data=(X, Y), **options):
    """The call that fails: exact_igs, with one thing wrong."""
    return lambda: igsref.exact_igs(model() if network is None else network, data, **options)


def blocks(size, **options):
    """A bound by blocks, with one thing wrong."""
    return lambda: igsref.block_upper_bound(model(), (X, Y), block_size=size, **options)


def changed(tensor, index, value):
    """A copy with one entry replaced."""
    copy = tensor.clone()
    copy[index] = value
    return copy


def with_parameter(name, index, value):
    network = model()
    with torch.no_grad():
        network.get_parameter(name)[index] = value
    return network


def probabilities(index=(0, 0), value=1 / 3):
    return changed(torch.full((8, 3), 1 / 3, dtype=torch.float64), index, value)


def used_up():
    batches = iter([(X, Y)])
    list(batches)
    return batches


class Backwards(torch.autograd.Function):
    """x ↦ x, whose derivative fails."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise KeyError("backwards")


def later(calls, function):
    """Well behaved for so many forward passes, and no longer."""
    seen = []
    return lambda f: f if seen.append(0) or len(seen) <= calls else function(f)


def fails(f):
    raise KeyError("later")


def wider(f):
    return torch.cat([f, f], dim=1)


def certified(network=None, data=(X, Y), **options):
    """The call that fails: certify, with one thing wrong."""
    return lambda: igsref.certify(model() if network is None else network, data, **options)


class Made(nn.Module):
    """A network with something done to its input and to its output."""

    def __init__(self, before=lambda x: x, after=lambda f: f, layer=None):
        super().__init__()
        self.before, self.after, self.layer = before, after, layer or model()

    def forward(self, x):
        return self.after(self.layer(self.before(x)))


def normalised():
    """BatchNorm that takes the batch's statistics even in evaluation mode."""
    return nn.Sequential(model(), nn.BatchNorm1d(3, track_running_stats=False)).double().eval()


def positions():
    """The same over two positions, so that one sample has statistics as well."""
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(8, 3)).double().eval()


def neighbours(f):
    """Each sample's logits and those before it, but for the first and the last."""
    return torch.cat([f[:1], f[1:-1] + f[:-2], f[-1:]]) if len(f) > 2 else f


def frozen():
    return model().requires_grad_(False)


def quietly(make):
    """What torch makes while it says that quantised tensors will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def quantised_tensor():
    return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def quantised_layers():
    layers = torch.ao.quantization.quantize_dynamic(model().float(), {nn.Linear}, torch.qint8)
    return nn.Sequential(layers, nn.Linear(3, 3))


def keeping():
    """A network that has kept an activation of an earlier call where nobody looks."""
    network = model()
    network.kept = [network(X)]
    return network


def scaled(factor):
    """Logits (factor·x₀, 0, 0)."""
    params = {"w": torch.tensor([factor, 0.0, 0.0], dtype=torch.float64)}
    return lambda params, x: x[:, :1] * params["w"], params


def noisy(draw):
    return Made(after=lambda f: f + draw())


def pair(**params):
    return (lambda params, x: x), params


SPREAD = changed(torch.full((8, 1), 1.0, dtype=torch.float64), 5, 711.0)

VALUE, TYPE, MEMORY = ValueError, TypeError, MemoryError

LABELS = {
    "too large": (
        measured(data=(X, changed(Y, 3, 7))),
        VALUE,
        r"labels must lie in 0\.\.2 for 3 classes; labels\[3\] is 7",
    ),
    "negative": (
        measured(data=(X, changed(Y, 2, -100))),
        VALUE,
        r"labels must lie in 0\.\.2.*labels\[2\] is -100",
    ),
    "float, one a sample": (
        measured(data=(X, Y.double())),
        VALUE,
        r"float labels.*must have the logits' shape \(8, 3\); got \(8,\)\. Class indices must be i",
    ),
    "integer, one-hot": (
        measured(data=(X, nn.functional.one_hot(Y))),
        VALUE,
        r"integer labels must have shape \(8,\).*got \(8, 3\)",
    ),
    "boolean": (measured(data=(X, Y > 0)), TYPE, r"labels must be class .*torch\.bool"),
    "fewer than inputs": (
        measured(data=(X, Y[:7])),
        VALUE,
        "x and labels in batch 0 of data must have the same length; got 8 and 7",
    ),
    "no samples in front": (measured(data=(X, Y[0])), VALUE, r"labels.*samples in front; got \(\)"),
    "negative probability": (
        measured(data=(X, probabilities((4, 1), -0.25))),
        VALUE,
        r"class probabilities must not be negative; labels\[4, 1\] is -0\.25",
    ),
    "probabilities that sum to more than one": (
        measured(data=(X, probabilities((4, 1), 0.5))),
        VALUE,
        r"class probabilities must sum to 1 .*torch\.float64\); labels\[4\] sums to 1\.1666",
    ),
    "probabilities that sum to slightly less than one": (
        measured(data=(X, probabilities((4, 1), 1 / 3 - 1e-12))),
        VALUE,
        r"must sum to 1 .*labels\[4\] sums to 0\.99999",
    ),
    "bfloat16 probabilities of another scale": (
        measured(data=(X, (2.5 * probabilities()).bfloat16())),
        VALUE,
        r"must sum to 1 \(to 1\.0e-02 in torch\.bfloat16\).*q / q\.sum\(1, keepdim=True\)",
    ),
    "bfloat16 probabilities of nothing": (
        measured(data=(X, torch.zeros(8, 3, dtype=torch.bfloat16))),
        VALUE,
        r"must sum to 1 .*labels\[0\] sums to 0",
    ),
    "NaN probability": (
        measured(data=(X, probabilities((6, 2), NAN))),
        VALUE,
        r"labels must be finite; labels\[6, 2\] is nan",
    ),
    "a switch beyond [0, 1]": (
        measured(data=(X, probabilities((6, 2), 1.5)), likelihood="bernoulli"),
        VALUE,
        r"labels must lie in \[0, 1\] for the Bernoulli likelihood; labels\[6, 2\] is 1\.5",
    ),
    "infinite regression target": (
        measured(data=(X, probabilities((6, 2), INFINITY)), likelihood="gaussian"),
        VALUE,
        r"labels must be finite; labels\[6, 2\] is inf",
    ),
    "regression targets of another shape": (
        measured(data=(X, X), likelihood="gaussian"),
        VALUE,
        r"labels must have the logits' shape \(8, 3\); got \(8, 4\)",
    ),
    "sparse labels": (
        measured(data=(X, Y.to_sparse())),
        TYPE,
        r"labels in batch 0 of data must be a dense tensor; it is of layout torch\.sparse_coo",
    ),
    "complex regression targets": (
        measured(data=(X, probabilities().cfloat()), likelihood="gaussian"),
        TYPE,
        r"labels must be real; got dtype torch\.complex64",
    ),
}

DATA = {
    "no samples": (measured(data=(X[:0], Y[:0])), VALUE, "data must hold at least one sample"),
    "an empty list": (measured(data=[]), VALUE, "data must hold at least one sample; got none$"),
    "an iterator read before": (
        measured(data=used_up()),
        VALUE,
        r"data must hold at least one sample; got none \(an iterator that was read before",
    ),
    "an iterator for plan": (
        lambda: igsref.plan(model(), iter([(X, Y)])),
        VALUE,
        "data is an iterator that can be read only once, and plan would use it up",
    ),
    "a loader without labels": (
        measured(data=DataLoader(TensorDataset(X))),
        TYPE,
        r"batch 0 of data must be \(x, labels\).*got list of 1\. Labels are needed",
    ),
    "a mapping without labels": (
        measured(data={"x": X, "y": Y}),
        TYPE,
        r"batch 0 of data has no 'labels'; its keys are \['x', 'y'\]",
    ),
    "labels alone": (measured(data={"labels": Y}), TYPE, "batch 0 .* labels but no inputs"),
    "inputs alone": (measured(data=X), TYPE, r"data must be a pair \(x, y\).*got Tensor"),
    "no iterable": (measured(data=3), TYPE, r"data must be a pair \(x, y\).*got int"),
    "labels that are no tensor": (
        measured(data=(X, Y.tolist())),
        TYPE,
        r"batch 0 of data must be \(x, labels\) with labels a tensor.*got Tensor",
    ),
    "an input that is no tensor": (
        measured(data={"x": X.numpy(), "labels": Y}),
        TYPE,
        "x in batch 0 of data must be a tensor; got ndarray",
    ),
    "batches of other shapes": (
        measured(data=[(X, Y), (X[:, :3], Y)]),
        VALUE,
        r"x must have one shape, dtype and device in all batches; batch 0 has \(·, 4\).*"
        r"batch 1 has \(·, 3\)",
    ),
    "batches of other dtypes": (
        measured(data=[(X, Y), (X.float(), Y)]),
        VALUE,
        r"x must have one shape, dtype.*float64.*batch 1 has.*float32",
    ),
    "batches of other names": (
        measured(data=[{"x": X, "labels": Y}, {"z": X, "labels": Y}]),
        VALUE,
        r"batch 0 has \['x', 'labels'\], batch 1 has \['z', 'labels'\]",
    ),
    "inputs on another device": (
        measured(data=(X.to("meta"), Y)),
        VALUE,
        "x is on meta, the model on cpu; move one to the other",
    ),
    "labels on another device": (
        measured(data=(X, Y.to("meta"))),
        VALUE,
        "labels is on meta, the model on cpu",
    ),
    "NaN input": (
        measured(data=(changed(X, (2, 1), NAN), Y)),
        VALUE,
        r"inputs must be finite; x\[2, 1\] is nan \(1 of 32 are not\)",
    ),
    "sparse input": (
        measured(data=(X.to_sparse(), Y)),
        TYPE,
        r"x in batch 0 of data must be a dense tensor; it is of layout torch\.sparse_coo",
    ),
    "nested input": (
        measured(data=(quietly(lambda: torch.nested.nested_tensor(list(X))), Y)),
        TYPE,
        "x in batch 0 of data must be a dense tensor; it is nested",
    ),
    "complex input": (
        measured(data=(X.cfloat(), Y)),
        TYPE,
        r"inputs must be real; x has dtype torch\.complex64",
    ),
    "inputs of the wrong width": (
        measured(data=(classes(3, 40, 9).view(8, 5), Y)),
        VALUE,
        "model could not be evaluated on the first batch of data: RuntimeError: ",
    ),
    "infinite keyword input": (
        measured(data={"values": changed(X, (2, 1), INFINITY), "labels": Y}),
        VALUE,
        r"inputs must be finite; values\[2, 1\] is inf",
    ),
    "infinite second input": (
        measured(data=((X, changed(X, (0, 3), -INFINITY)), Y)),
        VALUE,
        r"inputs must be finite; x\[1\]\[0, 3\] is -inf",
    ),
}

MODEL = {
    "no model": (measured("resnet"), TYPE, r"model must be a torch\.nn\.Module or a pair.*got str"),
    "a bare function": (measured(lambda x: x), TYPE, "model must be .*got function"),
    "params that are no mapping": (
        measured((lambda p, x: x, [X])),
        TYPE,
        r"params of a pair \(function, params\) must be a mapping.*got list",
    ),
    "NaN parameter": (
        measured(with_parameter("2.weight", (1, 3), NAN)),
        VALUE,
        r"parameter 2\.weight must be finite; 2\.weight\[1, 3\] is nan",
    ),
    "infinite parameter": (
        measured(with_parameter("0.bias", 4, -INFINITY)),
        VALUE,
        r"parameter 0\.bias must be finite; 0\.bias\[4\] is -inf",
    ),
    "infinite parameter of a pair": (
        measured(pair(w=torch.tensor(INFINITY))),
        VALUE,
        r"parameter w must be finite; w\[\] is inf",
    ),
    "complex parameters": (
        measured(pair(w=torch.ones(2, dtype=torch.complex64))),
        TYPE,
        r"parameter w is complex \(torch\.complex64\); it must be real",
    ),
    "sparse parameters": (
        measured(pair(w=torch.eye(2).to_sparse())),
        TYPE,
        r"parameter w must be a dense tensor; it is of layout torch\.sparse_coo",
    ),
    "parameters that a lazy layer does not have yet": (
        measured(nn.Sequential(model(), quietly(lambda: nn.LazyLinear(3)))),
        VALUE,
        r"parameter 1\.bias has no shape yet; call the model once",
    ),
    "integer parameters": (
        measured(pair(w=torch.ones(2, dtype=torch.int64))),
        TYPE,
        r"parameter w has dtype torch\.int64 \(quantised or integer\)",
    ),
    "a quantised parameter": (
        measured(pair(w=quietly(quantised_tensor))),
        TYPE,
        r"parameter w has dtype torch\.qint8 \(quantised or integer\)",
    ),
    "parallel": (
        measured(nn.DataParallel(model())),
        TYPE,
        r"model is a DataParallel.*pass model\.module",
    ),
    "scripted": (
        measured(quietly(lambda: torch.jit.script(model()))),
        TYPE,
        "the model is a RecursiveScriptModule.*pass the module that it was made from",
    ),
    "activations in a list": (
        measured(keeping()),
        VALUE,
        r"model must be one that copy\.deepcopy copies; it raised RuntimeError.*detach them",
    ),
    "quantised layers": (
        measured(quietly(quantised_layers)),
        TYPE,
        "parameter 0.0._packed_params._packed_params is quantised; derivatives need floating",
    ),
    "parameters without values": (
        measured(model().to("meta")),
        VALUE,
        r"parameter 0\.bias is on the meta device, so it has no values",
    ),
    "frozen": (measured(frozen()), VALUE, "model has no trainable parameters"),
    "no parameters": (measured(nn.Flatten()), VALUE, "model has no trainable parameters"),
    "a pattern that matches nothing": (
        measured(parameters="layer.*"),
        VALUE,
        r"parameters='layer\.\*' matches none .*: 0\.weight, 0\.bias, 2\.weight, 2\.bias$",
    ),
    "dropout in training mode": (
        measured(nn.Sequential(model(), nn.Dropout(0.5))),
        VALUE,
        r"model is in training mode.*: 1 \(Dropout\)\. Call model\.eval\(\) first",
    ),
    "batch norm in training mode": (
        measured(nn.Sequential(model(), nn.BatchNorm1d(3)).double()),
        VALUE,
        r"model is in training mode.*: 1 \(BatchNorm1d\)",
    ),
    "attention dropout in training mode": (
        measured(Made(layer=nn.MultiheadAttention(4, 2, dropout=0.1))),
        VALUE,
        r"model is in training mode.*: layer \(MultiheadAttention\)",
    ),
}

OUTPUT = {
    "one number a sample": (
        measured(Made(after=lambda f: f[:, 0])),
        VALUE,
        r"model must return logits of shape \(N, C\), here \(8, C\); got \(8,\)",
    ),
    "logits of a sequence": (
        measured(Made(after=lambda f: f[:, None])),
        VALUE,
        r"model must return logits of shape \(N, C\), here \(8, C\); got \(8, 1, 3\)",
    ),
    "fewer logits than samples": (
        measured(Made(after=lambda f: f[1:])),
        VALUE,
        r"shape \(N, C\), here \(8, C\); got \(7, 3\)",
    ),
    "another number of classes on a second call": (
        measured(Made(after=later(1, wider))),
        VALUE,
        r"model must return logits of shape \(N, C\), here \(8, 3\); got \(8, 6\)",
    ),
    "another number of classes for one sample": (
        measured(Made(after=later(2, wider))),
        VALUE,
        r"model must return logits of shape \(N, C\), here \(1, 3\); got \(1, 6\)",
    ),
    "an error on a second call": (
        measured(Made(after=later(1, fails))),
        VALUE,
        "model could not be evaluated on the same batch of data again: KeyError: 'later'",
    ),
    "an error on the reversed batch": (
        measured(Made(after=later(4, fails))),
        VALUE,
        "model could not be evaluated on the first batch of data reversed: KeyError: 'later'",
    ),
    "an error on a single sample": (
        measured(Made(after=later(5, fails))),
        VALUE,
        "model could not be evaluated on the first sample of data: KeyError: 'later'",
    ),
    "no derivative": (
        measured(Made(after=Backwards.apply)),
        VALUE,
        "model could not be differentiated at sample 0 of data: KeyError: 'backwards'",
    ),
    "sparse logits": (
        measured(Made(after=lambda f: f.to_sparse())),
        TYPE,
        r"the logits that model returns must be a dense tensor; it is of layout torch\.sparse_coo",
    ),
    "logits without values": (
        measured(Made(after=lambda f: f.to("meta"))),
        VALUE,
        "model must return logits on cpu, where its parameters are; got meta",
    ),
    "no classes": (measured(Made(after=lambda f: f[:, :0])), VALUE, r"\(N, C\).*got \(8, 0\)"),
    "one class": (
        measured(Made(after=lambda f: f[:, :1])),
        VALUE,
        r"logits must have C ≥ 2 .*got \(8, 1\)\. One logit for two classes is .*'bernoulli'",
    ),
    "no tensor": (measured(Made(after=lambda f: [f])), TYPE, "must return logits as a t.*got list"),
    "single precision": (
        measured(Made(after=lambda f: f.float())),
        TYPE,
        r"model must return torch\.float64 logits.*got torch\.float32",
    ),
    "NaN logit": (
        measured(Made(after=lambda f: f + changed(0 * f, (-1, 2), NAN))),
        VALUE,
        r"logits must be finite; logits\[7, 2\] is nan \(1 of 24 are not\)",
    ),
    "infinite logit": (
        measured(Made(after=lambda f: f / (X[:, :1] != X[3, 0]))),
        VALUE,
        r"logits must be finite; logits\[3, 0\] is -?inf \(3 of 24 are not\)",
    ),
    "a difference past 709": (
        measured(scaled(1.0), data=(SPREAD, Y)),
        VALUE,
        r"logits of sample 5 have a largest difference of 711; at most 709 .*1 of 8 samples",
    ),
    "a switch past 709": (
        measured(scaled(-1.0), data=(SPREAD, probabilities()), likelihood="bernoulli"),
        VALUE,
        r"logits of sample 5 have a largest magnitude of 711; at most 709",
    ),
    "batch statistics": (
        measured(normalised()),
        VALUE,
        r"model must evaluate a sample alone; sample 0 .*raised ValueError: .*\(batch statistics",
    ),
    "batch statistics over a sample's positions, too": (
        measured(positions(), data=(gaussian(3, 8, 4, 2), Y)),
        VALUE,
        r"must not depend on the other samples of the batch; sample 0 .*differ by.*normalisation",
    ),
    "a mean over the batch": (
        measured(Made(before=lambda x: x - x.mean(0))),
        VALUE,
        "model's output for a sample must not depend on the other samples of the batch",
    ),
    "a neighbour in the middle of the batch": (
        measured(Made(after=neighbours)),
        VALUE,
        r"must not depend on the other samples of the batch; sample \d .*reversed differ by",
    ),
    "single precision on the way": (
        measured(Made(before=lambda x: nn.functional.normalize(x.float()).double())),
        TYPE,
        r"Made turns values of shape \(1, 4\) into torch\.float32 .*it loses digits",
    ),
    "torch's chance": (
        measured(noisy(lambda: torch.rand(()))),
        VALUE,
        "model must be deterministic; two forward passes over the same batch differ by",
    ),
    "NumPy's chance": (
        measured(noisy(lambda: float(np.random.rand()))),
        VALUE,
        "model must be deterministic",
    ),
    "Python's chance": (measured(noisy(random.random)), VALUE, "model must be deterministic"),
    "functional dropout": (
        measured(Made(before=nn.functional.dropout)),
        VALUE,
        "model must be deterministic",
    ),
}

OPTIONS = {
    "unknown likelihood": (
        measured(likelihood="poisson"),
        VALUE,
        r"likelihood must be one of \['bernoulli', 'categorical', 'gaussian'\].*got 'poisson'",
    ),
    "no likelihood": (measured(likelihood=3), TYPE, "likelihood must be a name or .*got int"),
    "a job that does not fit": (
        measured(memory=1000),
        MEMORY,
        r"16 rows × 43 parameters needs .*iB, and 1000 B is there; give memory=\d+, or choose f",
    ),
    "no memory": (measured(memory=0), VALUE, "memory, in bytes, must be at least 1; got 0"),
    "memory in words": (measured(memory="1 GB"), TYPE, "memory, in bytes, must be an .*'1 GB'"),
    "a fraction of a byte": (
        measured(memory=1.5),
        TYPE,
        r"memory, in bytes, must be an .*; got float 1\.5",
    ),
    "an empty batch": (
        lambda: measured()().minibatch(0),
        VALUE,
        "batch_size must be at least 1; got 0",
    ),
    "a batch larger than the data": (
        lambda: measured()().minibatch(9),
        VALUE,
        "batch_size must be at most N = 8 without replacement; got 9",
    ),
    "a fractional batch": (
        lambda: measured()().minibatch(2.0),
        TYPE,
        r"batch_size must be an integer; got float 2\.0",
    ),
    "a negative rcond": (
        lambda: igsref.textbook_igs(model(), (X, Y), rcond=-1e-5),
        VALUE,
        r"rcond must lie in \[0, 1\); got -1e-05",
    ),
    "a NaN rcond": (
        lambda: igsref.textbook_igs(model(), (X, Y), rcond=NAN),
        VALUE,
        r"rcond must lie in \[0, 1\); got nan",
    ),
    "an rcond that leaves nothing": (
        lambda: igsref.textbook_igs(model(), (X, Y), rcond=1.0),
        VALUE,
        r"rcond must lie in \[0, 1\); got 1",
    ),
    "an integer dtype": (
        lambda: igsref.textbook_igs(model(), (X, Y), dtype=torch.int64),
        TYPE,
        r"dtype must be torch\.float32 or torch\.float64; got torch\.int64",
    ),
    "half precision for the textbook": (
        lambda: igsref.textbook_igs(model(), (X, Y), dtype=torch.float16),
        TYPE,
        r"dtype must be torch\.float32 or torch\.float64; got torch\.float16",
    ),
    "an rcond in words": (
        lambda: igsref.textbook_igs(model(), (X, Y), rcond="a"),
        TYPE,
        "rcond must be a number; got 'a'",
    ),
    "no rcond": (
        lambda: igsref.textbook_igs(model(), (X, Y), rcond=None),
        TYPE,
        "rcond must be a number; got None",
    ),
    "a likelihood's class": (
        measured(likelihood=igsref.Categorical),
        TYPE,
        r"likelihood must be an object, not a class: give Categorical\(\)",
    ),
    "a misspelt option": (
        measured(likelyhood="gaussian"),
        TYPE,
        "unknown option 'likelyhood'; the options are likelihood, parameters, logits",
    ),
    "parameters by number": (measured(parameters=3), TYPE, "parameters must be a name .*got 3"),
    "no patterns": (measured(parameters=[]), VALUE, r"at least one name pattern; got \[\]"),
    "one pattern of two that matches nothing": (
        measured(parameters=["0.*", "zz.*"]),
        VALUE,
        r"parameters='zz\.\*' matches none of the trainable parameters: 0\.weight",
    ),
    "a key that is not there": (
        measured(Made(after=lambda f: {"scores": f}), logits="foo"),
        VALUE,
        r"logits='foo' is not in the model's output, a dict with the keys \['scores'\]",
    ),
    "an index out of range": (
        measured(Made(after=lambda f: (f, f)), logits=7),
        VALUE,
        "logits=7 is not in the model's output, a tuple with 2 entries",
    ),
    "no step": (
        lambda: igsref.kl_divergence(model(), (X, Y), step=None),
        TYPE,
        "step must be a tensor or a mapping .*got None",
    ),
    "a NaN step": (
        lambda: igsref.fisher_quadratic(model(), (X, Y), step=torch.full((43,), NAN)),
        VALUE,
        "step must be finite",
    ),
    "batches by mask": (
        lambda: igsref.monte_carlo_minibatch_igs(model(), (X, Y), batches=[Y > 0]),
        VALUE,
        r"batches must hold non-empty lists of sample indices; batch 0 .*torch\.bool",
    ),
    "a rank bound in words": (
        measured(rank_bound="full"),
        TYPE,
        "rank_bound must be an integer; got str 'full'",
    ),
    "half a rank": (measured(rank_bound=7.5), TYPE, r"rank_bound must be an .*; got float 7\.5"),
    "a rank that is true": (measured(rank_bound=True), TYPE, "rank_bound must be an .*got True"),
    "a negative rank": (measured(rank_bound=-1), VALUE, "rank_bound must be at least 0; got -1"),
    "a rank bound below the rank": (
        measured(rank_bound=5),
        VALUE,
        "rank_bound=5 is below the rank that is proven, 16",
    ),
    "a rank bound below what rationals prove": (
        certified(mlp(0, [4, 5, 3], nn.ReLU), rank_bound=5),
        VALUE,
        "rank_bound=5 is below the rank that is proven, 14",
    ),
    "a rank bound below what balls prove": (
        certified(rank_bound=5),
        VALUE,
        "rank_bound=5 is below the rank that is proven, 6",
    ),
    "a rank bound below an exact rank": (
        lambda: igsref.exact_rank(mlp(0, [4, 5, 3], nn.ReLU), (X, Y), rank_bound=5),
        VALUE,
        "rank_bound=5 is below the rank that is proven, 14",
    ),
    "blocks of nothing": (blocks(0), VALUE, "block_size must be at least 1; got 0"),
    "blocks of less than nothing": (blocks(-2), VALUE, "block_size must be at least 1; got -2"),
    "half a block": (blocks(2.5), TYPE, r"block_size must be an integer; got float 2\.5"),
    "a block that is true": (blocks(True), TYPE, "block_size must be an integer; got True"),
    "blocks in words": (blocks("all"), TYPE, "block_size must be an integer; got str 'all'"),
    "blocks of a pool": (
        blocks(2, fisher_data=X),
        VALUE,
        "block_upper_bound takes F as a mean over the labelled samples; leave fisher_data out",
    ),
    "a block that does not fit": (
        blocks(2, memory=1000),
        MEMORY,
        "4 rows × 43 parameters needs .*iB, and 1000 B is there",
    ),
    "a hierarchy of a pool": (
        lambda: igsref.gradient_hierarchy(model(), (X, Y), fisher_data=X),
        VALUE,
        "gradient_hierarchy needs a label for every input of F; leave fisher_data out",
    ),
    "no eigenpairs": (
        lambda: igsref.spectrum(model(), (X, Y), k=0),
        VALUE,
        "k must be at least 1; got 0",
    ),
    "half an eigenpair": (
        lambda: igsref.spectrum(model(), (X, Y), k=0.5),
        TYPE,
        r"k must be an integer; got float 0\.5",
    ),
}

POOL = {
    "a number": (measured(fisher_data=3), TYPE, "fisher_data must be inputs: a tensor.*got int"),
    "numbers in a list": (
        measured(fisher_data=[1.0]),
        TYPE,
        "x in fisher_data must be a tensor; got float",
    ),
    "of another name": (
        measured(fisher_data={"z": X}),
        VALUE,
        r"fisher_data must hold the inputs of data, \['x'\], in the same.*; batch 0 has \['z'\]",
    ),
    "a labelled pair": (
        measured(fisher_data=(X, Y)),
        VALUE,
        r"fisher_data must hold the inputs .*; batch 0 has \['x\[0\]', 'x\[1\]'\]",
    ),
    "of another shape": (
        measured(fisher_data=X[:, :3]),
        VALUE,
        r"x in fisher_data must be like that in data, \(·, 4\).*batch 0 has \(8, 3\)",
    ),
    "of another dtype": (
        measured(fisher_data=X.float()),
        VALUE,
        r"x in fisher_data must be like that in data.*batch 0 has \(8, 4\) torch\.float32",
    ),
    "nothing": (measured(fisher_data=[]), VALUE, "fisher_data must hold at least one input"),
    "an iterator for plan": (
        lambda: igsref.plan(model(), (X, Y), fisher_data=iter([X])),
        VALUE,
        "fisher_data is an iterator that can be read only once, and plan would use it up",
    ),
    "NaN in it": (
        measured(fisher_data=changed(X, (2, 1), NAN)),
        VALUE,
        r"inputs must be finite; x\[2, 1\] of fisher_data is nan",
    ),
    "members of none": (
        measured(members=torch.arange(8)),
        VALUE,
        "members are rows of fisher_data, and there is none",
    ),
    "members in a list": (
        measured(fisher_data=X, members=list(range(8))),
        TYPE,
        "members must be a tensor of integers; got list",
    ),
    "members that are floats": (
        measured(fisher_data=X, members=torch.arange(8.0)),
        TYPE,
        r"members must be a tensor of integers; got torch\.float32",
    ),
    "members without values": (
        measured(fisher_data=X, members=torch.arange(8, device="meta")),
        VALUE,
        "members are on the meta device, so they have no values",
    ),
    "sparse": (
        measured(fisher_data=X.to_sparse()),
        TYPE,
        r"x in fisher_data must be a dense tensor; it is of layout torch\.sparse_coo",
    ),
    "too few members": (
        measured(fisher_data=X, members=torch.arange(7)),
        VALUE,
        r"members must have shape \(8,\).*got \(7,\)",
    ),
    "a member out of range": (
        measured(fisher_data=X, members=changed(torch.arange(8), 3, 8)),
        VALUE,
        r"members must lie in 0\.\.7, the rows of fisher_data; members\[3\] is 8",
    ),
    "a member twice": (
        measured(fisher_data=X, members=changed(torch.arange(8), 3, 2)),
        VALUE,
        "members must name each row once; 2 comes more than once",
    ),
    "members that are other inputs": (
        measured(fisher_data=X, members=torch.arange(8).flip(0)),
        VALUE,
        r"fisher_data\[members\] must be the labelled inputs; x\[0\] differs from row 7",
    ),
}

TABLE = {
    f"{group}: {mistake}": row
    for group, table in {
        "labels": LABELS,
        "data": DATA,
        "model": MODEL,
        "output": OUTPUT,
        "option": OPTIONS,
        "pool": POOL,
    }.items()
    for mistake, row in table.items()
}


@pytest.mark.parametrize(("call", "error", "message"), TABLE.values(), ids=TABLE)
def test_a_mistake_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_same_call_without_a_mistake_succeeds():
    assert measured()().value > 0
    assert measured(data=(X, probabilities()))().value > 0
    assert measured(scaled(1.0), data=(SPREAD - 2, Y))().value > 0


def quadratic(network, data, **options):
    return igsref.fisher_quadratic(network, data, step=torch.ones(43), **options)


JOBS = [igsref.exact_igs, igsref.span_residual, igsref.fisher, quadratic]


@pytest.mark.parametrize("measure", JOBS)
def test_what_does_not_fit_is_refused_before_any_jacobian_is_computed(measure, monkeypatch):
    def computed(*_):
        raise AssertionError("Jacobian rows were computed")

    monkeypatch.setattr(rows, "_rows_of", computed)
    with pytest.raises(MemoryError, match="43 parameters"):
        measure(model(), (X, Y), memory=1000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_up_and_not_refused(dtype):
    half = model().to(dtype)
    x, y = X.to(dtype), Y
    expected = igsref.exact_igs(model().to(dtype).double(), (x.double(), y))
    assert igsref.exact_igs(half, (x, y)) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_probabilities_of_lower_precision_need_not_sum_to_one_exactly(dtype):
    labels = gaussian(3, 8, 3).softmax(dim=1).to(dtype)
    assert not torch.equal(labels.double().sum(dim=1), torch.ones(8, dtype=torch.float64))
    assert igsref.exact_igs(model(), (X, labels)).value > 0


def test_a_label_out_of_range_is_reported_after_the_first_chunk():
    sizes = []
    network = Made(before=lambda x: sizes.append(len(x)) or x)
    with pytest.raises(ValueError, match="labels must lie in"):
        igsref.exact_igs(network, (gaussian(1, 600, 4), classes(2, 600, 4)))
    assert sizes == [256]


def test_a_budget_that_is_none_is_refused_before_the_model_runs():
    def run(x):
        raise AssertionError("the model was evaluated")

    with pytest.raises(TypeError, match="memory, in bytes, must be an integer"):
        igsref.exact_igs(Made(before=run), (X, Y), memory="1 GB")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_labels_are_class_indices(dtype):
    assert igsref.exact_igs(model(), (X, Y.to(dtype))) == igsref.exact_igs(model(), (X, Y))

"""A multi-layer perceptron in ball arithmetic: logits, probabilities and the Jacobian.

Naive loops over balls; floats are the dyadic rationals that they are. Torch's conventions hold:
the derivative of a ReLU at 0 is 0, parameters go layer by layer, weight before bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flint import arb

Vector = list[arb]
Matrix = list[Vector]
Layers = Sequence[tuple[Sequence[Sequence[float]], Sequence[float] | None]]
Rows = Sequence[Sequence[float]]
Labels = Sequence[int]
ExactLayers = list[tuple[Matrix, Vector | None]]


class OracleError(ArithmeticError):
    """The precision does not suffice for an answer: ask again with more bits."""


@dataclass(frozen=True)
class Sample:
    """One labelled input seen through the network: f, p ∈ R^C, J ∈ R^{C×m}, y."""

    logits: Vector
    probabilities: Vector
    jacobian: Matrix
    label: int


def _relu(x: arb) -> tuple[arb, arb]:
    return (x, arb(1)) if _is_positive(x) else (arb(0), arb(0))


def _leaky_relu(x: arb) -> tuple[arb, arb]:
    slope = arb(0.01)
    return (x, arb(1)) if _is_positive(x) else (slope * x, slope)


def _tanh(x: arb) -> tuple[arb, arb]:
    value = x.tanh()
    return value, 1 - value * value


def _gelu(x: arb) -> tuple[arb, arb]:
    """x Φ(x) and Φ(x) + x φ(x), Φ(x) = (1 + erf(x/√2))/2."""
    cdf = (1 + (x / arb(2).sqrt()).erf()) / 2
    density = (-x * x / 2).exp() / (2 * arb.pi()).sqrt()
    return x * cdf, cdf + x * density


ACTIVATIONS: dict[str, Callable[[arb], tuple[arb, arb]]] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "tanh": _tanh,
    "gelu": _gelu,
}


def _is_positive(x: arb) -> bool:
    """x > 0, decided; 0 itself belongs to the lower branch, as in torch."""
    if x.contains(0) and not x.is_exact():
        raise OracleError(f"the sign of the pre-activation {x.str(10)} is undecided; raise bits")
    return bool(x > 0)


def forward(
    layers: ExactLayers, activation: str, row: Sequence[float]
) -> tuple[Vector, Matrix, Matrix]:
    """Logits, the input of each linear layer, and the slopes at each hidden layer."""
    function = ACTIVATIONS[activation]
    units, slopes = [[arb(x) for x in row]], []
    for weight, bias in layers[:-1]:
        pairs = [function(x) for x in _affine(weight, bias, units[-1])]
        units.append([value for value, _ in pairs])
        slopes.append([slope for _, slope in pairs])
    return _affine(*layers[-1], units[-1]), units, slopes


def _affine(weight: Matrix, bias: Vector | None, x: Vector) -> Vector:
    product = [dot(row, x) for row in weight]
    return product if bias is None else [a + b for a, b in zip(product, bias, strict=True)]


def jacobian(layers: ExactLayers, units: Matrix, slopes: Matrix) -> Matrix:
    """J ∈ R^{C×m}: one backward pass per class."""
    classes = len(layers[-1][0])
    seeds = [[arb(int(c == k)) for k in range(classes)] for c in range(classes)]
    return [_backward(layers, units, slopes, seed) for seed in seeds]


def _backward(layers: ExactLayers, units: Matrix, slopes: Matrix, delta: Vector) -> Vector:
    """The row of J whose derivative with respect to the logits is delta."""
    blocks = []
    for level in reversed(range(len(layers))):
        weight, bias = layers[level]
        blocks.append([] if bias is None else delta)
        blocks.append([d * x for d in delta for x in units[level]])
        if level > 0:
            pulled = [dot(delta, column) for column in zip(*weight, strict=True)]
            delta = [s * d for s, d in zip(slopes[level - 1], pulled, strict=True)]
    return [entry for block in reversed(blocks) for entry in block]


def softmax(logits: Vector) -> Vector:
    """p_c = exp(f_c − f_ref) / Σ_k exp(f_k − f_ref), ref a largest logit."""
    reference = max(logits, key=lambda f: f.mid())
    weights = [(f - reference).exp() for f in logits]
    total = sum(weights, arb(0))
    return [w / total for w in weights]


def labelled_samples(layers: Layers, activation: str, inputs: Rows, labels: Labels) -> list[Sample]:
    check(layers, activation, inputs, labels)
    exact = exact_layers(layers)
    return [_sample(exact, activation, x, y) for x, y in zip(inputs, labels, strict=True)]


def _sample(layers: ExactLayers, activation: str, row: Sequence[float], label: int) -> Sample:
    logits, units, slopes = forward(layers, activation, row)
    return Sample(logits, softmax(logits), jacobian(layers, units, slopes), label)


def exact_layers(layers: Layers) -> ExactLayers:
    """The same numbers as balls of radius 0."""
    return [
        (_exact(weight), None if bias is None else [arb(b) for b in bias])
        for weight, bias in layers
    ]


def _exact(rows: Rows) -> Matrix:
    return [[arb(x) for x in row] for row in rows]


def check(layers: Layers, activation: str, inputs: Rows, labels: Labels) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}; got {activation!r}")
    if not layers or not inputs or len(inputs) != len(labels):
        raise ValueError(
            "layers and inputs must not be empty, and inputs and labels must be of one length; "
            f"got {len(layers)} layers, {len(inputs)} inputs, {len(labels)} labels"
        )
    classes = len(layers[-1][0])
    if not all(0 <= label < classes for label in labels):
        raise ValueError(f"labels must lie in 0..{classes - 1}; got {sorted(set(labels))}")


def dot(left: Sequence[arb], right: Sequence[arb]) -> arb:
    return sum((a * b for a, b in zip(left, right, strict=True)), arb(0))

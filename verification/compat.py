"""Networks that other libraries make: `exact_igs` of each beside a short computation of its own.

    python verification/compat.py

The other computation is textbook: Jacobian rows by ``torch.autograd``, one backward pass each, on a
float64 copy; the paper's factor A of F from them; and ‖w‖² of the shortest w with Aᵀw = g, by
LAPACK with its own cut. It knows neither vmap nor the library's factor. A kind whose library is
not installed is left out with a word. Exit code 1 if a value is further from the check than its
rounding error and the check's own allow, or the check outside of the bracket by more than its own.
"""

import argparse
import copy
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import igsref
from experiments.tables import in_plain_text

HEADER = (
    "network", "torch", "method, grade", "rows", "m", "rank", "IGS in", "difference", "allowed",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier with its samples: inputs by position or by name, N in front."""

    model: nn.Module
    inputs: tuple[Tensor, ...] | dict[str, Tensor]
    labels: Tensor
    likelihood: str = "categorical"

    @property
    def data(self) -> Any:
        """As ``igsref`` takes it."""
        if isinstance(self.inputs, dict):
            return {**self.inputs, "labels": self.labels}
        return self.inputs if len(self.inputs) > 1 else self.inputs[0], self.labels


@dataclass(frozen=True)
class Check:
    """IGS by the computation of this module, and how far its own rounding may carry it."""

    value: float
    rank: int
    error: float


@dataclass(frozen=True)
class Outcome:
    """A measured kind of network beside its check."""

    result: igsref.Result
    check: Check

    @property
    def difference(self) -> float:
        return abs(self.result.value - self.check.value)

    @property
    def allowed(self) -> float:
        return self.result.rounding_error + self.check.error

    @property
    def right(self) -> bool:
        lower, upper = self.result.lower - self.check.error, self.result.upper + self.check.error
        inside = lower <= self.check.value <= upper
        return inside and self.difference <= self.allowed and self.result.rank == self.check.rank


def strengthened(model: nn.Module) -> nn.Module:
    """With larger weights than transformers begin with, under which inputs hardly differ."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(std=1.5 / value[0].numel() ** 0.5)
    return model


def hugging_face_bert() -> Subject:
    """Inputs by name, logits in a structured output; its mask code cannot be vmapped."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=7,
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=4,
        max_position_embeddings=4,
        num_labels=3,
        layer_norm_eps=1e-2,
    )
    tokens, mask = torch.randint(7, (130, 4)), torch.ones(130, 4, dtype=torch.int64)
    mask[::2, 3] = 0
    inputs = {"input_ids": tokens, "attention_mask": mask}
    model = strengthened(BertForSequenceClassification(config))
    return Subject(model, inputs, torch.randint(3, (130,)))


class VisionTransformer(nn.Module):
    """Patches by a convolution, a class token, one layer of torch's own encoder."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, kernel_size=2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, width, activation="gelu", layer_norm_eps=1e-2, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        token = self.token.expand(len(images), -1, -1)
        return self.head(self.encoder(torch.cat([token, patches], dim=1) + self.position)[:, 0])


def vision_transformer() -> Subject:
    model = strengthened(VisionTransformer())
    return Subject(model, (torch.randn(120, 1, 4, 4),), torch.randint(3, (120,)))


class Recurrent(nn.Module):
    """An LSTM's last state, read by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(2, 3, batch_first=True)
        self.head = nn.Linear(3, 3)

    def forward(self, sequences: Tensor) -> Tensor:
        return self.head(self.cell(sequences)[0][:, -1])


def recurrent() -> Subject:
    return Subject(Recurrent(), (torch.randn(60, 5, 2),), torch.randint(3, (60,)))


class GraphNetwork(nn.Module):
    """Two rounds of messages along a dense adjacency, then the mean over nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        received = adjacency / adjacency.sum(dim=-1, keepdim=True)
        hidden = torch.tanh(self.first(received @ nodes))
        return self.head(torch.relu(self.second(received @ hidden)).mean(dim=1))


def graph_network() -> Subject:
    edges = (torch.rand(40, 5, 5) < 0.4).float()
    adjacency = ((edges + edges.mT + torch.eye(5)) > 0).float()
    return Subject(GraphNetwork(), (torch.randn(40, 5, 2), adjacency), torch.randint(3, (40,)))


def as_torch(classifier: Any) -> nn.Sequential:
    """The network of a fitted ``MLPClassifier``: logits, a single one for two classes."""
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "identity": nn.Identity}
    layers: list[nn.Module] = []
    for weight, bias in zip(classifier.coefs_, classifier.intercepts_, strict=True):
        linear = nn.Linear(*weight.shape, dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.tensor(weight.T), torch.tensor(bias)
        layers += [linear, kinds[classifier.activation]()]
    return nn.Sequential(*layers[:-1])


def perceptron(classes: int) -> Subject:
    """scikit-learn's, fitted to a few noisy labels."""
    from sklearn.neural_network import MLPClassifier

    x, y = torch.randn(60, 2, dtype=torch.float64), torch.randint(classes, (60,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops before it has converged, which is meant
        fitted = MLPClassifier((5,), "tanh", solver="lbfgs", max_iter=20, random_state=0).fit(x, y)
    network = as_torch(fitted)
    if classes == 2:
        return Subject(network, (x,), y[:, None].double(), "bernoulli")
    return Subject(network, (x,), y)


KINDS: dict[str, tuple[str, Callable[[], Subject]]] = {
    "Hugging Face BERT classifier": ("transformers", hugging_face_bert),
    "vision transformer": ("torch", vision_transformer),
    "LSTM": ("torch", recurrent),
    "graph network": ("torch", graph_network),
    "MLPClassifier, three classes": ("sklearn", lambda: perceptron(3)),
    "MLPClassifier, two classes": ("sklearn", lambda: perceptron(2)),
}
"""By name: the library that it needs, and how it is made."""


def logits_of(model: nn.Module, inputs: tuple[Tensor, ...] | dict[str, Tensor]) -> Tensor:
    """Logits (N, C), from a structured output too."""
    output = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    return getattr(output, "logits", output)


def jacobian(logits: Tensor, model: nn.Module) -> Tensor:
    """∂f_ic/∂θ, (N, C, m), one backward pass for each."""
    theta = [value for value in model.parameters() if value.requires_grad]
    rows = []
    for logit in logits.flatten():
        parts = torch.autograd.grad(logit, theta, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows).view(*logits.shape, -1)


def double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


def check(subject: Subject) -> Check:
    """Σ_i ‖w_i‖², w_i the shortest solution of Aᵀw = g_i: (1/N) Σ g_i F⁺ g_iᵀ with F = AᵀA/N.

    error: 4κ·n·u of it, κ the condition number of A without the singular values below n·u
    of the largest, n its longer side: relative errors n·u of A and g move w by 2κ·n·u, its square
    by twice that.
    """
    model = copy.deepcopy(subject.model).double().eval()
    inputs: Any = subject.inputs
    if isinstance(inputs, dict):
        inputs = {name: double(value) for name, value in inputs.items()}
    else:
        inputs = tuple(double(value) for value in inputs)
    logits = logits_of(model, inputs)
    rows = jacobian(logits, model)
    factor, gradients = (
        part.detach() for part in geometry(logits, rows, subject.labels, subject.likelihood)
    )
    solved = torch.linalg.lstsq(factor.mT, gradients.mT, driver="gelsd")
    value, rank = float(solved.solution.square().sum()), int(solved.rank)
    sigma = solved.singular_values
    unit = torch.finfo(torch.float64).eps * max(factor.shape)
    return Check(value, rank, 4 * float(sigma[0] / sigma[rank - 1]) * unit * value)


def geometry(
    logits: Tensor, rows: Tensor, labels: Tensor, likelihood: str
) -> tuple[Tensor, Tensor]:
    """A, (N·C, m), and g_i, (N, m), as the paper's equations (3) to (5) write them."""
    if likelihood == "bernoulli":
        p = logits.sigmoid()
        factor, residual = (p * (1 - p)).sqrt()[..., None] * rows, p - labels
    else:
        p = logits.softmax(dim=1)
        mean = torch.einsum("nc,ncm->nm", p, rows)
        factor = p.sqrt()[..., None] * (rows - mean[:, None])
        residual = p - nn.functional.one_hot(labels, p.shape[1])
    return factor.flatten(0, 1), torch.einsum("nc,ncm->nm", residual, rows)


def outcome(make: Callable[[], Subject], seed: int) -> Outcome:
    """One kind of network with drawn weights and samples."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what cannot be vmapped is slower only
        torch.manual_seed(seed)
        subject = make()
        subject.model.eval()
        result = igsref.exact_igs(subject.model, subject.data, likelihood=subject.likelihood)
        return Outcome(result, check(subject))


def row(name: str, found: Outcome) -> tuple[str, ...]:
    result, size = found.result, found.check.value
    return (
        name,
        torch.__version__,
        f"{result.method}, {result.grade}",
        f"{result.num_rows}",
        f"{result.num_parameters}",
        f"{result.rank}",
        f"[{result.lower:.8g}, {result.upper:.8g}]",
        f"{found.difference / size:.1e}",
        f"{found.allowed / size:.1e}" + ("" if found.right else "  OFF"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of weights and samples (%(default)s)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows, left_out, right = [HEADER], [], True
    for name, (library, make) in KINDS.items():
        if find_spec(library) is None:
            left_out.append(f"{name}: left out, {library} is not installed")
            continue
        found = outcome(make, options.seed)
        rows.append(row(name, found))
        right = right and found.right
    print("\n".join([in_plain_text(rows), *left_out]))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

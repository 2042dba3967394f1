"""Where information criteria are meant to hold: many samples, few parameters, a true gap at hand.

Labels are drawn from a softmax teacher on Gaussian inputs, so that the gap of a student is its test
loss on as many fresh samples as it takes, less its training loss. Students are the softmax itself,
to which the data belong, or a narrow tanh network. Gap and measures are means over training sets.
"""

import itertools
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import igsref
from experiments.data import generator
from experiments.populations import Subject

FRESH = 100_000
REPEATS = 6
STEPS = 400
CLASSES = 4


@dataclass(frozen=True)
class Setting:
    """inputs, samples of each training set, units of the hidden layer, 0 for the softmax."""

    inputs: int
    samples: int
    hidden: int


SETTINGS = tuple(
    Setting(*values) for values in itertools.product((5, 10, 20), (1000, 2000, 4000), (0, 2, 4))
)


def drawn(setting: Setting, samples: int, *seeds: int) -> tuple[Tensor, Tensor]:
    """Inputs N(0, 1), labels of the teacher, whose weights depend on the number of inputs alone."""
    inputs = setting.inputs
    weights = torch.randn(
        CLASSES, inputs, generator=generator("teacher", inputs), dtype=torch.float64
    )
    own = generator("control", *seeds)
    x = torch.randn(samples, inputs, generator=own, dtype=torch.float64)
    logits = 2 * x @ weights.T / inputs**0.5
    y = torch.multinomial(logits.softmax(dim=1), 1, generator=own).squeeze(1)
    return x, y


def student(setting: Setting, seed: int) -> nn.Module:
    """The network before training, in float64."""
    sizes = [setting.inputs, *([setting.hidden] if setting.hidden else []), CLASSES]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    model = nn.Sequential(*layers[:-1]).double()
    own = generator("student", seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=own))
    return model


def loss_of(model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy, in nats."""
    x, y = data
    return nn.functional.cross_entropy(model(x), y)


def fit(model: nn.Module, data: tuple[Tensor, Tensor]) -> int:
    """A minimum of the training loss, by L-BFGS; how many iterations it took."""
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=STEPS,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, data)
        loss.backward()
        return loss

    optimizer.step(closure)
    return int(optimizer.state[next(model.parameters())]["n_iter"])


def control(setting: Setting) -> Subject:
    """Means over ``REPEATS`` training sets; one fresh sample is the test of all of them."""
    fresh = drawn(setting, FRESH, setting.inputs, 0)
    rows = [_one(setting, repeat, fresh) for repeat in range(1, REPEATS + 1)]
    means = torch.tensor(rows, dtype=torch.float64).mean(dim=0).tolist()
    training, test, igs, lower, upper, ceiling, parameters, iterations = means
    kind = f"tanh network of {setting.hidden} units" if setting.hidden else "softmax"
    return Subject(
        name=f"{kind}, {setting.inputs} inputs, N = {setting.samples}",
        parameters=round(parameters),
        epochs=round(iterations),
        training_loss=training,
        gap=test - training,
        error_gap=float("nan"),
        measures={
            "IGS": igs,
            "IGS/N": igs / setting.samples,
            "AIC": parameters / setting.samples,
            "IGS ceiling": ceiling,
        },
        bracket=(lower, upper),
        refused={},
        reached=True,
        seconds=0.0,
    )


def _one(setting: Setting, repeat: int, fresh: tuple[Tensor, Tensor]) -> list[float]:
    data = drawn(setting, setting.samples, setting.inputs, setting.samples, repeat)
    model = student(setting, repeat)
    iterations = fit(model, data)
    with torch.no_grad():
        losses = float(loss_of(model, data)), float(loss_of(model, fresh))
    with warnings.catch_warnings():
        # The bracket says what it says.
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        result = igsref.exact_igs(model, data)
    sizes = float(result.num_parameters), float(iterations)
    return [*losses, result.value, result.lower, result.upper, result.ceiling, *sizes]

"""Where information criteria are meant to hold: many samples, few parameters, a true gap at hand.

Labels are drawn from a teacher on Gaussian inputs, so that as many fresh samples as it takes tell
the gap of a student. Three kinds: a softmax taught by a softmax, to which the data belong; a
softmax taught by a tanh network, to which they do not, so that m/N is not what theory says; a tanh
network taught by one of its own widths. Theory is local: students start at the best parameters θ*
there are, and must end at a minimum. Where a tanh unit turns into a step its weights grow without
end, and there is none.

The gap is a mean over training sets of

    [L_fresh(θ̂) − L_fresh(θ*)] − [L_train(θ̂) − L_train(θ*)],

which has the expectation of L_fresh(θ̂) − L_train(θ̂), θ* being chosen without these samples, and
without most of its noise: what luck makes of a training set, it makes of the loss at θ* too.
"""

import copy
import itertools
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

import igsref
from experiments.data import generator
from experiments.populations import Subject

FRESH, CHOOSING = 100_000, 50_000
REPEATS = 6
STEPS = 2000
CLASSES = 4
FLAT = 1e-6
"""A minimum has no partial derivative above that, in nats."""
FAR = 30.0
"""And no weight beyond that: a teacher's are of the order of 1."""


@dataclass(frozen=True)
class Setting:
    """teacher, student: hidden units, 0 for a softmax. samples: of each training set."""

    inputs: int
    samples: int
    teacher: int
    student: int

    @property
    def kind(self) -> str:
        """In words."""
        names = {0: "softmax"}
        own, other = (
            names.get(units, f"tanh network of {units} units")
            for units in (self.student, self.teacher)
        )
        return own if own == other else f"{own} taught by a {other}"


KINDS = ((0, 0), (4, 0), (2, 2))
SETTINGS = tuple(
    Setting(inputs, samples, *kind)
    for inputs, samples, kind in itertools.product((5, 10, 20), (1000, 2000, 4000), KINDS)
)


def conditions(setting: Setting) -> dict[str, Any]:
    """All that decides what is found."""
    numbers = {"fresh": FRESH, "choosing": CHOOSING, "repeats": REPEATS, "steps": STEPS}
    return {**asdict(setting), **numbers, "classes": CLASSES, "flat": FLAT, "far": FAR}


def network(inputs: int, hidden: int) -> nn.Module:
    """Of random weights, the same for the same sizes, in float64."""
    sizes = [inputs, *([hidden] if hidden else []), CLASSES]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    model = nn.Sequential(*layers[:-1]).double()
    own = generator("teacher", inputs, hidden)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 2 * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=own))
    return model


def drawn(teacher: nn.Module, inputs: int, samples: int, *seeds: int) -> tuple[Tensor, Tensor]:
    """Inputs N(0, 1), labels of the teacher."""
    own = generator("control", inputs, *seeds)
    x = torch.randn(samples, inputs, generator=own, dtype=torch.float64)
    with torch.no_grad():
        y = torch.multinomial(teacher(x).softmax(dim=1), 1, generator=own).squeeze(1)
    return x, y


def best(setting: Setting, teacher: nn.Module) -> nn.Module:
    """θ*: the teacher, or the student that fits a large sample of its own."""
    if setting.student == setting.teacher:
        return teacher
    model = network(setting.inputs, setting.student)
    fit(model, drawn(teacher, setting.inputs, CHOOSING, 0, 1))
    return model


def loss_of(model: nn.Module, data: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy, in nats."""
    x, y = data
    return nn.functional.cross_entropy(model(x), y)


@dataclass(frozen=True)
class Fit:
    """iterations: of L-BFGS. minimum: whether it ended at one."""

    iterations: int
    minimum: bool


def fit(model: nn.Module, data: tuple[Tensor, Tensor]) -> Fit:
    """Go down from where the model is, by L-BFGS."""
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=STEPS,
        max_eval=10 * STEPS,
        history_size=50,
        tolerance_grad=0.01 * FLAT,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, data)
        loss.backward()
        return loss

    optimizer.step(closure)
    closure()
    parameters = list(model.parameters())
    slope = max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)
    largest = max(float(p.detach().abs().max()) for p in parameters)
    iterations = int(optimizer.state[parameters[0]]["n_iter"])
    return Fit(iterations, slope <= FLAT and largest <= FAR)


def control(setting: Setting) -> Subject:
    """Means over ``REPEATS`` training sets; one fresh sample is the test of all of them."""
    teacher = network(setting.inputs, setting.teacher)
    star = best(setting, teacher)
    fresh = drawn(teacher, setting.inputs, FRESH, 0, 0)
    rows = []
    for repeat in range(1, REPEATS + 1):
        data = drawn(teacher, setting.inputs, setting.samples, setting.samples, repeat)
        rows.append(_one(star, data, fresh))
    found = torch.tensor(rows, dtype=torch.float64)
    means = found.mean(dim=0).tolist()
    training, gap, igs, lower, upper, ceiling, parameters, iterations, minimum = means
    return Subject(
        name=f"{setting.kind}, {setting.inputs} inputs, N = {setting.samples}",
        parameters=round(parameters),
        epochs=round(iterations),
        training_loss=training,
        gap=gap,
        error_gap=float("nan"),
        measures={
            "IGS": igs,
            "IGS/N": igs / setting.samples,
            "AIC": parameters / setting.samples,
            "IGS ceiling": ceiling,
        },
        bracket=(lower, upper),
        refused={},
        reached=minimum == 1.0,
        seconds=0.0,
        gap_error=float(found[:, 1].std()) / REPEATS**0.5,
    )


def _one(
    star: nn.Module,
    data: tuple[Tensor, Tensor],
    fresh: tuple[Tensor, Tensor],
) -> list[float]:
    model = copy.deepcopy(star)
    ended = fit(model, data)
    with torch.no_grad():
        training = loss_of(model, data)
        gap = loss_of(model, fresh) - loss_of(star, fresh) - training + loss_of(star, data)
    with warnings.catch_warnings():
        # The bracket says what it says.
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        result = igsref.exact_igs(model, data)
    sizes = float(result.num_parameters), float(ended.iterations), float(ended.minimum)
    numbers = result.value, result.lower, result.upper, result.ceiling
    return [float(training), float(gap), *numbers, *sizes]

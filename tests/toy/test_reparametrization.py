"""Figure 2: other coordinates move all measures but the IGS, by b^(−2a) where the map is linear."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

import igsref
from igsref.curvature.hessian import hessian
from igsref.flat import ranges, unflatten
from igsref.measures.compare import compare
from igsref.transforms.bijections import ElementwisePower, RadialPower
from igsref.transforms.reparametrize import reparametrize
from toy.gaussian_classes import perceptron
from toy.reparametrization import (
    ACTIVATION,
    BASELINES,
    CLOSED_FORM,
    EXPONENTS,
    PANELS,
    WIDTHS,
    experiment,
    main,
    measured_case,
    picture,
    trained_network,
)

SAMPLES, SOFTENINGS, STEPS = 90, (0.1, 10.0), 100
U = torch.finfo(torch.float64).eps / 2


@pytest.fixture(scope="module")
def outcome():
    return experiment(SAMPLES, seed=0, softenings=SOFTENINGS, steps=STEPS)


@pytest.fixture(scope="module")
def problem(outcome):
    return igsref.as_problem(outcome.trained.model, (outcome.trained.x, outcome.trained.y))


@pytest.fixture(scope="module")
def tolerances(outcome, problem):
    """Relative, from a bound of the rounding errors of both Hessians; see ``path_sums``.

    The forward passes at θ and at φ⁻¹(η) = θ are the same. An entry of H is a sum of products along
    paths of the graph, each with no more roundings than: a mean over N samples, a final sum over m
    entries; 3 layers, each passed 4 times in a double backward pass, with a sum over at most 9
    terms and at most 10 operations on entries; and 30 in the loss and the map. Eigenvalues in
    LAPACK add at most m·u·‖·‖_F each time.
    """
    θ, m, p = outcome.trained.weights, problem.num_parameters, problem.function.parameters
    roundings = (SAMPLES + m + 3 * 4 * (9 + 10) + 30) * U
    error = 2 * roundings / (1 - roundings) * path_sums(outcome.trained, problem)
    H, last = hessian(problem), ranges(p)["4.weight"]
    size = torch.cat([value.norm().expand(value.numel()) for value in p.values()])
    products = (p["4.weight"] @ p["4.weight"].mT).abs()
    blocks = error[last, last].reshape(3, 8, 3, 8)
    norm = torch.linalg.matrix_norm
    absolute = {
        "Tr(H)": error.trace(),
        "λmax(H)": norm(error) + 2 * m * U * norm(H),
        "Fisher–Rao": 2 * θ.abs() @ error @ θ.abs(),
        "Rangamani et al.": norm(size[:, None] * error * size)
        + 2 * m * U * norm(size[:, None] * H * size),
        "Petzka et al.": (products * torch.einsum("stut->su", blocks)).sum(),
    }
    return {name: float(absolute[name]) / outcome.before[name].value for name in BASELINES}


def path_sums(trained, problem) -> Tensor:
    """Σ |products| along the paths of the graph that add up to an entry of H, (m, m), or more.

    The second derivatives of a majorant: each step of f and of the loss by its Taylor polynomial
    of degree 2 in the deviation of its input, with absolute values for all coefficients.
    """
    p = problem.logits.softmax(dim=1)
    residual = (p - torch.nn.functional.one_hot(trained.y, 3)).abs()
    values = [trained.x]
    for layer in trained.model:
        values.append(layer(values[-1]).detach())

    def majorant(step: Tensor) -> Tensor:
        deltas = unflatten(step, problem.function.parameters)
        inner = torch.zeros_like(trained.x)
        for place, layer in enumerate(trained.model):
            before, after = values[place].abs(), values[place + 1]
            if isinstance(layer, torch.nn.Linear):
                weight, bias = deltas[f"{place}.weight"], deltas[f"{place}.bias"]
                inner = inner @ layer.weight.detach().abs().mT + (before + inner) @ weight.mT + bias
            else:
                slope = 1 - after.square()
                inner = slope * inner + (after.abs() * slope) * inner.square()
        curved = (p * inner.square()).sum(dim=1) + (p * inner).sum(dim=1).square()
        return ((residual * inner).sum(dim=1) + curved / 2).mean()

    return torch.func.hessian(majorant)(torch.zeros_like(trained.weights))


def of(outcome, center):
    return [case for case in outcome.cases if case.center == center]


def in_other_coordinates(outcome, power, exponent, softening, image_center=None):
    trained = outcome.trained
    bijection = power(exponent, softening, trained.weights, image_center)
    return reparametrize(trained.model, bijection), (trained.x, trained.y)


def test_the_path_sums_exceed_the_hessian_in_every_entry(outcome, problem):
    assert (path_sums(outcome.trained, problem) >= hessian(problem).abs() * (1 - 1e-12)).all()


@pytest.mark.parametrize("name", BASELINES)
def test_around_the_trained_weights_each_baseline_is_multiplied_by_b_to_the_minus_2a(
    outcome, tolerances, name
):
    for case in of(outcome, "trained"):
        assert case.promised == case.softening ** (-2 * case.exponent)
        # 8u: of pow for (s + b)^(−a) twice, of b^(−2a), and of two quotients.
        assert abs(case.ratios[name] / case.promised - 1) <= tolerances[name] + 8 * U


def test_what_rounding_may_do_to_the_closed_forms_is_below_what_the_script_allows(tolerances):
    assert max(tolerances.values()) < CLOSED_FORM / 10


@pytest.mark.parametrize("power", [ElementwisePower, RadialPower])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_around_the_trained_weights_a_power_of_four_scales_the_hessian_exactly(
    outcome, problem, power, exponent
):
    model, data = in_other_coordinates(outcome, power, exponent, 16.0)
    other = igsref.as_problem(model, data)
    # b^(∓a) = 4^(∓1) rounds nothing.
    assert torch.equal(hessian(other), hessian(problem) * 16.0 ** (-2 * exponent))


def test_with_an_image_center_of_zero_the_network_stands_at_the_origin(outcome):
    model, data = in_other_coordinates(outcome, ElementwisePower, 0.5, 3.0)
    seen = compare(model, data, measures=["Tr(H)", "Fisher–Rao", "Petzka et al."])
    assert seen["Fisher–Rao"].value == seen["Petzka et al."].value == 0
    assert seen["Tr(H)"].value == pytest.approx(outcome.before["Tr(H)"].value / 3, rel=1e-9)
    with pytest.raises(ValueError, match="norm above 0"):
        compare(model, data, measures=["Rangamani et al."])


def test_the_igs_stays_in_all_coordinates(outcome):
    assert len(outcome.cases) == len(PANELS) * len(EXPONENTS) * len(SOFTENINGS)
    for case in outcome.cases:
        assert abs(case.ratios["IGS"] - 1) <= 1e-10 + case.rounding
        assert case.igs_ends[0] <= 1 <= case.igs_ends[1]
        assert case.igs_ends[1] - case.igs_ends[0] < 1e-5


def test_the_igs_is_well_determined_and_below_its_ceiling(outcome):
    result = outcome.before.result
    assert result.rounding_error < 1e-6 * result.value
    assert result.rank == result.rank_lower == result.rank_upper < result.num_rows
    assert result.saturation < 0.98


@pytest.mark.parametrize("name", BASELINES)
def test_around_the_initial_weights_each_baseline_moves_and_by_no_power_of_b(outcome, name):
    for case in of(outcome, "initial"):
        assert abs(case.ratios[name] - 1) > 0.01
        assert abs(case.ratios[name] * case.softening ** (2 * case.exponent) - 1) > 0.001


def test_around_the_initial_weights_trace_and_fisher_rao_obey_the_chain_rule(outcome, problem):
    θ, origin = outcome.trained.weights, outcome.trained.initial
    δ, s = θ - origin, (θ - origin).square()
    model = outcome.trained.model
    loss = torch.nn.functional.cross_entropy(model(outcome.trained.x), outcome.trained.y)
    g = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
    F, H = igsref.fisher(problem), hessian(problem)
    for case in of(outcome, "initial"):
        if case.shape != "elementwise":
            continue
        a, b = case.exponent, case.softening
        first = (s + b) ** (a - 1) * (b + (1 + 2 * a) * s)
        second = 2 * a * δ * (s + b) ** (a - 2) * (3 * b + (1 + 2 * a) * s)
        η = (s + b) ** a * δ + origin
        trace = (H.diagonal() / first**2 - g * second / first**3).sum()
        norm = (η / first) @ F @ (η / first)
        # Half of the digits: rounding stays far below, a term left out far above.
        expected = {"Tr(H)": trace / H.trace(), "Fisher–Rao": norm / (θ @ F @ θ)}
        for name, value in expected.items():
            assert case.ratios[name] == pytest.approx(float(value), rel=2.0**-26, abs=0)


def test_the_same_seed_gives_the_same_numbers_whatever_the_global_state(outcome):
    state = torch.random.get_rng_state()
    torch.rand(())
    trained, (center, shape, power) = trained_network(SAMPLES, 0, STEPS), PANELS[-1]
    again = measured_case(
        trained, outcome.before, center, shape, power, EXPONENTS[-1], SOFTENINGS[-1]
    )
    torch.random.set_rng_state(state)
    assert torch.equal(trained.x, outcome.trained.x)
    assert torch.equal(trained.weights, outcome.trained.weights)
    assert again == outcome.cases[-1]


def test_another_seed_gives_another_network(outcome):
    assert not torch.equal(trained_network(SAMPLES, 1, STEPS).weights, outcome.trained.weights)


def test_the_initial_weights_are_those_before_training(outcome):
    start = perceptron(WIDTHS, ACTIVATION, torch.Generator())
    vector_to_parameters(outcome.trained.initial, start.parameters())
    x, y = outcome.trained.x, outcome.trained.y
    loss = torch.nn.functional.cross_entropy(start(x), y).detach()
    assert float(loss) > 2 * outcome.before.result.loss


def test_the_example_of_a_map_of_ones_own_leaves_the_igs_alone():
    text = Path(__file__).parents[2].joinpath("docs/reparametrization.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, object] = {}
    with torch.random.fork_rng():
        exec(compile(example, "docs/reparametrization.md", "exec"), scope)
    before, after = scope["before"], scope["after"]
    assert abs(after["IGS"].value / before["IGS"].value - 1) <= 1e-10
    assert after["IGS"].uncertainty < 1e-6 * before["IGS"].value
    assert abs(after["Tr(H)"].value / before["Tr(H)"].value - 1) > 0.01


def test_a_measure_below_zero_is_shown_as_such(outcome):
    case = outcome.cases[0]
    for value, count in ((2.0, 0), (-2.0, 1)):
        shown = replace(case, ratios={**case.ratios, "Tr(H)": value})
        (words,) = picture(replace(outcome, cases=(shown,))).legends
        assert [text.get_text() for text in words.get_texts()].count("below 0") == count


def test_the_script_prints_its_table_and_writes_the_picture(outcome, tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "toy.reparametrization.experiment", lambda *options: asked.append(options) or outcome
    )
    folder = tmp_path / "new" / "folder"
    main(["--output", str(folder), "--samples", "90", "--seed", "1"])
    assert asked == [(90, 1)]
    printed = capsys.readouterr().out
    for words in ("m = 123, N = 90", "b^(−2a)", "Rangamani", "IGS − 1", "worst |seen/promised"):
        assert words in printed
    assert printed.count("\nradial ") == len(EXPONENTS) * len(SOFTENINGS)
    assert (folder / "reparametrization.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "reparametrization.pdf").read_bytes().startswith(b"%PDF")

"""Every transformation keeps the function of every network that it lists, in other parameters."""

from itertools import islice

import pytest
import torch
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

from igsref.flat import flatten
from igsref.measures.measurement import INVARIANCES
from igsref.testing import FAMILIES, TRANSFORMATIONS, Case, draw_cases, draw_network
from tests.closeness import EPS, assert_within
from tests.random_states import states

PAIRS = [(name, family) for name, t in TRANSFORMATIONS.items() for family in t.families]
_SUMS = 64
"""Rounded operations behind an output, in both evaluations: sums of at most 20 terms, a few
layers."""


def drawn(name: str, family: str, count: int) -> list[Case]:
    generator = torch.Generator().manual_seed(11)
    return list(islice(draw_cases(name, generator, families=[family]), count))


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return flatten({name: value.detach() for name, value in model.named_parameters()})


def class_differences(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """All that a softmax sees of logits."""
    logits = model(x).detach()
    return logits - logits.mean(dim=1, keepdim=True)


def allowed(network, name: str, condition: float) -> torch.Tensor:
    """First order in the rounding of parameters.

    Sums are those of parameters that are off by _SUMS·u of themselves, so is a network whose
    parameters are rounded one by one: Σ_k |J_k θ_k|. A general map moves θ by u·κ(Φ)·‖θ‖ an entry,
    there and back, so by √m of that in all.
    """
    model, x = network.model, network.inputs
    held = {key: value.detach() for key, value in model.named_parameters()}
    with sdpa_kernel(SDPBackend.MATH):
        parts = jacrev(lambda values: functional_call(model, values, (x,)))(held)
    rows = torch.cat([part.flatten(start_dim=2) for part in parts.values()], dim=2)
    theta = parameters(model)
    one_by_one = _SUMS * rows.abs() @ theta.abs()
    together = len(theta) ** 0.5 * condition * rows.norm(dim=2) * theta.norm()
    general = TRANSFORMATIONS[name].rounding == "general"
    error = EPS * (one_by_one + (4 * together if general else 0.0))
    # A mean over classes is off by what its terms are.
    return error + error.mean(dim=1, keepdim=True)


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_outputs_are_kept_and_parameters_are_not(name, family):
    for case in drawn(name, family, 2):
        network = case.network()
        before = parameters(network.model).clone()
        transformed = case.transformed(network)
        expected = class_differences(network.model, network.inputs)
        actual = class_differences(transformed.model, network.inputs)
        assert_within(actual, expected, allowed(network, name, transformed.condition))
        assert torch.equal(parameters(network.model), before)  # on a copy
        if name not in ("permutation", "sign flip", "node scaling by powers of two"):
            assert not torch.equal(parameters(transformed.model), before)


@pytest.mark.parametrize("name", ["permutation", "sign flip", "node scaling by powers of two"])
def test_discrete_ones_may_be_the_identity_but_seldom_are(name):
    """A permutation of two units is none in half of all draws."""
    moved = 0
    for case in drawn(name, TRANSFORMATIONS[name].families[0], 12):
        network = case.network()
        after = parameters(case.transformed(network).model)
        moved += not torch.equal(after, parameters(network.model))
    assert moved >= 4


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_transformation_is_a_function_of_its_generator(name):
    transformation = TRANSFORMATIONS[name]
    network = draw_network(transformation.families[0], 2)
    before = states()[1:]  # beartype, which checks the annotations here, draws from Python's own
    one, again, other = (
        parameters(transformation.draw(network.model, torch.Generator().manual_seed(s), 0.9).model)
        for s in (0, 0, 1)
    )
    assert states()[1:] == before
    assert torch.equal(one, again)
    assert name in ("permutation", "sign flip") or not torch.equal(one, other)


@pytest.mark.parametrize("name", ["layer scaling", "node scaling", "diagonal map"])
def test_strength_is_in_decades(name):
    transformation = TRANSFORMATIONS[name]
    network = draw_network(transformation.families[0], 2)
    theta = parameters(network.model)
    for strength in (0.0, 0.5, transformation.strongest):
        after = transformation.draw(network.model, torch.Generator().manual_seed(0), strength)
        decades = (parameters(after.model) / theta).abs().log10()
        # A weight between two layers is scaled by both.
        assert float(decades.abs().max()) <= 2 * strength + 1e-12
        assert strength == 0 or float(decades.abs().max()) > strength / 4


@pytest.mark.parametrize("name", ["dense linear map", "diagonal map", "orthogonal map"])
def test_the_condition_is_that_of_the_map(name):
    for case in drawn(name, "ReLU perceptron", 3):
        condition = case.transformed(case.network()).condition
        most = {"dense linear map": case.strength, "diagonal map": 2 * case.strength}.get(name, 0)
        assert 1.0 <= condition <= 10.0**most * (1 + 1e-9)


def test_the_table_names_families_and_kinds_that_there_are():
    assert {t.kind for t in TRANSFORMATIONS.values()} == set(INVARIANCES)
    for name, transformation in TRANSFORMATIONS.items():
        assert transformation.name == name
        assert set(transformation.families) <= set(FAMILIES)
        assert transformation.families
        assert transformation.strongest > 0

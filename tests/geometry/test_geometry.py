"""One geometry, asked: vectors in their places, leverages, brackets, ranks."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.rank_bound import RankBound
from tests.strategies import architecture, fill_, gaussian

POOL = gaussian(9, 9, 3)
MEMBERS = torch.tensor([7, 2, 4])


def geometry(*, twins: bool = False) -> igsref.Geometry:
    """Three labelled samples in a pool of nine, or of nine twice."""
    model, _, y = architecture("MLP with tanh", 0, 3)
    pool = POOL.repeat(2, 1) if twins else POOL
    return igsref.as_geometry(model, (POOL[MEMBERS], y), fisher_data=pool, members=MEMBERS)


def columns_of(found: igsref.Geometry, blocks: torch.Tensor) -> torch.Tensor:
    everything = slice(0, found.problem.num_rows)
    return torch.cat([part.rows(everything) for part in found.in_blocks(blocks)], dim=1)


def test_blocks_stand_in_the_places_of_their_samples():
    found, blocks = geometry(), gaussian(1, 3, 2)
    expected = torch.zeros(9, 2, 3).double()
    for column, place in enumerate(MEMBERS.tolist()):
        expected[place, :, column] = blocks[column]
    columns = columns_of(found, blocks)
    assert torch.equal(columns, expected.view(18, 3))
    together = found.embedded(torch.stack([blocks, 2 * blocks]))
    assert torch.equal(together[:, 0], columns.sum(dim=1))
    assert torch.equal(together[:, 1], 2 * columns.sum(dim=1))


def test_energy_of_a_sample_is_that_of_its_column():
    found, blocks = geometry(twins=True), gaussian(1, 3, 2)
    columns = columns_of(found, blocks)
    assert not found.saturated
    assert torch.allclose(found.sample_energy(blocks), found.energy(columns), rtol=1e-13, atol=0)


def test_leverages_of_a_pool_add_up_to_its_rank():
    found = geometry(twins=True)
    scores = found.leverage()
    assert scores.shape == (18, 2)
    assert float(scores.sum()) == pytest.approx(found.space.dimension, rel=1e-12)
    # Twins share a direction: each has half of it.
    assert float(scores.max()) <= 0.5 + 1e-12


def test_bracket_of_the_whole_space_holds_the_squared_length():
    found, blocks = geometry(), gaussian(1, 3, 2)
    assert found.certificate.full
    inside = found.bracket(found.in_blocks(blocks))
    square = float(blocks.square().sum())
    assert inside.lower <= square <= inside.upper == pytest.approx(square, rel=1e-14)
    assert found.rank_lower == 18


def test_bracket_of_a_subspace_holds_the_energy():
    found, blocks = geometry(twins=True), gaussian(1, 3, 2)
    inside = found.bracket(found.in_blocks(blocks))
    energy = float(found.sample_energy(blocks).sum())
    assert inside.lower <= energy <= inside.upper
    assert inside.lower == pytest.approx(energy, rel=1e-9)
    assert found.rank_lower == found.rank_upper.value == 18


def dead(**options) -> igsref.Geometry:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(-1.0)
    data = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 3.0]]), torch.tensor([0, 1, 0])
    return igsref.as_geometry(model, data, **options)


def test_where_nothing_is_known_everything_or_nothing_may_lie_inside(monkeypatch):
    monkeypatch.setattr("igsref.geometry.geometry.exact_bound", lambda *_: None)
    found, blocks = dead(), torch.ones(3, 1).double()
    inside = found.bracket(found.in_blocks(blocks))
    assert found.rank_upper.value > found.rank_lower == 0
    assert inside.lower == 0.0
    assert inside.upper == pytest.approx(3.0, rel=1e-14)


def test_the_exact_rank_shows_that_nothing_lies_inside():
    found, blocks = dead(), torch.ones(3, 1).double()
    assert found.rank_upper == RankBound(0, "exact rank")
    assert found.structural.value > 0
    assert found.bracket(found.in_blocks(blocks)).upper == 0.0


def asked(monkeypatch) -> list[RankBound]:
    """The bounds that an exact one was asked beside."""
    seen: list[RankBound] = []
    original = igsref.geometry.geometry.exact_bound

    def exact_bound(problem, known, seconds):
        seen.append(known)
        return original(problem, known, seconds)

    monkeypatch.setattr("igsref.geometry.geometry.exact_bound", exact_bound)
    return seen


def test_an_exact_rank_is_decided_once(monkeypatch):
    found, seen = dead(), asked(monkeypatch)
    assert found.rank_upper is found.rank_upper
    assert seen == [found.structural]


def test_no_exact_rank_is_decided_where_it_would_tell_nothing(monkeypatch):
    seen = asked(monkeypatch)
    for found in (geometry(twins=True), dead(rank_bound=0)):
        assert found.rank_upper == found.structural
    assert not seen


def test_an_exact_rank_closes_estimated_brackets_too_unless_it_is_below_their_rank(monkeypatch):
    pooling = nn.Sequential(
        *(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3))
    )
    model, x = fill_(pooling.double(), 2), gaussian(1, 40, 1, 3, 3)
    with torch.no_grad():
        model[0].bias[0] = -40.0  # off on all samples, which structure does not know
    data = x, torch.arange(40) % 3
    found, refuted = igsref.as_geometry(model, data), igsref.as_geometry(model, data)
    assert found.certificate.grade == "estimated"
    assert found.rank_upper.source == "exact rank"
    assert found.rank_lower == found.rank_upper.value < found.structural.value
    below = RankBound(refuted.rank_lower - 1, "exact rank")
    monkeypatch.setattr("igsref.geometry.geometry.exact_bound", lambda *_: below)
    assert refuted.rank_upper == refuted.structural


def test_where_the_rank_is_known_to_be_zero_nothing_lies_inside():
    found, blocks = dead(rank_bound=0), torch.ones(3, 1).double()
    assert found.bracket(found.in_blocks(blocks)).upper == 0.0


def test_a_certificate_is_made_once_and_only_when_asked_for(monkeypatch):
    made = []
    original = igsref.geometry.wide.verified_wide
    monkeypatch.setattr(
        "igsref.geometry.wide.verified_wide", lambda *a: made.append(1) or original(*a)
    )
    found = geometry()
    assert found.energy(gaussian(1, 18, 1)).shape == (1,)
    assert not made
    assert found.certificate is found.certificate
    assert made == [1]

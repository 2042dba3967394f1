"""Columns of data space, whose energies are held against all vectors of signs there are."""

import itertools

import pytest
import torch

from igsref.geometry.right_hand_sides import right_hand_sides
from tests.closeness import EPS, assert_within
from tests.random_states import states
from tests.strategies import gaussian

SAMPLES, HEIGHT = 4, 3
ROWS = SAMPLES * HEIGHT
ROUNDING = 8 * ROWS * EPS
"""Sums of 12 products, some of them of sums themselves, relative to their terms."""


def residuals(seed=0):
    """v_i of quite different lengths: the longest are those of samples 1, 3, 0, 2."""
    return gaussian(seed, SAMPLES, HEIGHT) * torch.tensor([4.0, 100.0, 1.0, 20.0])[:, None]


def sides_of(v, *, heaviest=0, probes=1, seed=0, members=None, pool_size=None, **rest):
    return right_hand_sides(
        v,
        torch.arange(len(v)) if members is None else members,
        len(v) if pool_size is None else pool_size,
        heaviest=heaviest,
        probes=probes,
        seed=seed,
        **rest,
    )


def projector(rank, seed=3):
    q = torch.linalg.qr(gaussian(seed, ROWS, rank)).Q
    return q @ q.mT


def in_place(v):
    """v_i in data space, columns."""
    return torch.block_diag(*v[:, None]).mT


def all_signs(free):
    """Every vector of signs of the free samples once, 0 for the others, (2^free, N)."""
    choices = [(-1.0, 1.0) if sample in free else (0.0,) for sample in range(SAMPLES)]
    return torch.tensor(list(itertools.product(*choices)), dtype=torch.float64)


def every_probe(sides, free):
    """The probes of a draw that has every vector of signs, one of each: (columns, signs)."""
    chosen = []
    for signs in all_signs(free):
        same = (sides.signs == signs).all(dim=1).nonzero()
        assert len(same) > 0, f"{signs.tolist()} was not drawn"
        chosen.append(int(same[0]))
    first = sides.num_heaviest
    return sides.matrix[:, first : first + sides.num_probes][:, chosen], sides.signs[chosen]


@pytest.mark.parametrize(("heaviest", "alone"), [(0, []), (1, [1]), (2, [1, 3])])
@pytest.mark.parametrize("rank", [0, 2, 7, 12])
def test_the_energies_of_all_probes_have_the_stated_mean_and_variance(heaviest, alone, rank):
    v, p = residuals(), projector(rank)
    sides = sides_of(v, heaviest=heaviest, probes=400)
    free = [sample for sample in range(SAMPLES) if sample not in alone]
    probes, signs = every_probe(sides, free)
    assert_within(probes, in_place(v) @ signs.mT, 0.0)  # exact: ±1 times one number each

    shared = float(v[free].square().sum())
    own = in_place(v).mT @ p @ in_place(v)
    energies = (p @ probes).square().sum(dim=0)
    assert_within(energies.mean(), own.diagonal()[free].sum(), ROUNDING * shared)
    # Var ‖P w‖² = 2 Σ_{i≠j} (v_iᵀ P v_j)², and that of ‖(I − P) w‖² is the same.
    crossed = (own - own.diagonal().diag())[free][:, free]
    variance = 2 * crossed.square().sum()
    rounding = 2 * ROUNDING * shared**2  # of squares of energies
    assert_within(energies.var(correction=0), variance, rounding)
    missing = (probes - p @ probes).square().sum(dim=0)
    assert_within(missing.var(correction=0), variance, rounding)
    # What is missing to the ceiling limits it: D_ij = v_iᵀ(I − P)v_j.
    trace = float((v.square().sum(dim=1) - own.diagonal())[free].sum())
    assert float(variance) <= 2 * trace**2 + rounding
    assert (float(variance) > 1000 * rounding) == (0 < rank < ROWS)


@pytest.mark.parametrize("heaviest", [0, 1, 2, 3])
def test_energies_of_the_columns_add_up_to_the_ceiling(heaviest):
    v = residuals()
    sides = sides_of(v, heaviest=heaviest, probes=3)
    squares = sides.matrix.square().sum(dim=0)
    assert sides.num_heaviest == heaviest
    assert sides.num_probes == 3
    assert sides.matrix.shape == (ROWS, heaviest + 3 + 1)
    total = float(v.square().sum())
    probes = squares[heaviest : heaviest + 3]
    assert_within(probes, torch.full_like(probes, sides.probe_square), ROUNDING * total)
    assert float(squares[:heaviest].sum()) + sides.probe_square == pytest.approx(
        total, rel=ROUNDING
    )


def test_the_heaviest_samples_have_columns_of_their_own_and_none_in_probes():
    v = residuals()
    sides = sides_of(v, heaviest=2, probes=50)
    assert sides.heaviest.tolist() == [1, 3]
    assert_within(sides.matrix[:, :2], in_place(v)[:, [1, 3]], 0.0)
    assert torch.equal(sides.signs[:, [1, 3]], torch.zeros(50, 2).double())
    assert torch.equal(sides.signs[:, [0, 2]].abs(), torch.ones(50, 2).double())
    probes = sides.matrix[:, 2:52].view(SAMPLES, HEIGHT, 50)
    assert float(probes[[1, 3]].abs().max()) == 0.0


def test_the_total_has_the_last_column_unless_it_is_left_out():
    v = residuals()
    both = sides_of(v, heaviest=1, probes=2), sides_of(v, heaviest=1, probes=2, full_batch=False)
    for sides in both:
        assert_within(sides.total, v.flatten(), 0.0)
    assert torch.equal(both[0].matrix[:, -1], both[0].total)
    assert torch.equal(both[1].matrix, both[0].matrix[:, :-1])
    assert both[1].probe_square == both[0].probe_square


def test_of_equally_heavy_samples_the_first_come_first():
    v = torch.ones(SAMPLES, HEIGHT).double()
    assert sides_of(v, heaviest=3).heaviest.tolist() == [0, 1, 2]


@pytest.mark.parametrize("heaviest", [4, 10])
def test_where_all_have_their_own_column_there_is_no_probe(heaviest):
    v = residuals()
    sides = sides_of(v, heaviest=heaviest, probes=5)
    assert sides.heaviest.tolist() == [1, 3, 0, 2]
    assert sides.num_probes == 0
    assert sides.probe_square == 0.0
    assert_within(sides.matrix[:, :4], in_place(v)[:, [1, 3, 0, 2]], 0.0)
    assert sides.matrix.shape[1] == 5


@pytest.mark.parametrize("heaviest", [0, 2, 4])
def test_the_last_column_is_the_sum_of_all(heaviest):
    v = residuals()
    sides = sides_of(v, heaviest=heaviest, probes=2)
    assert_within(sides.matrix[:, -1], v.flatten(), 0.0)


@pytest.mark.parametrize("heaviest", [0, 1, 4])
def test_columns_lie_in_the_pool_where_the_labelled_samples_are(heaviest):
    v, members = residuals(), torch.tensor([5, 0, 6, 3])
    alone = sides_of(v, heaviest=heaviest, probes=2)
    pooled = sides_of(v, heaviest=heaviest, probes=2, members=members, pool_size=8)
    assert torch.equal(pooled.signs, alone.signs)
    assert torch.equal(pooled.heaviest, alone.heaviest)
    blocks = pooled.matrix.view(8, HEIGHT, -1)
    assert_within(blocks[members].flatten(0, 1), alone.matrix, 0.0)
    others = [row for row in range(8) if row not in members.tolist()]
    assert float(blocks[others].abs().max()) == 0.0
    assert pooled.matrix.is_contiguous()


def test_seeds_decide_and_global_states_do_not():
    v, before = residuals(), states()
    first, other = (sides_of(v, heaviest=1, probes=20, seed=seed) for seed in (1, 2))
    assert states() == before
    torch.rand(3)
    again = sides_of(v, heaviest=1, probes=20, seed=1)
    assert torch.equal(first.signs, again.signs)
    assert torch.equal(first.matrix, again.matrix)
    assert not torch.equal(first.signs, other.signs)


def test_signs_do_not_depend_on_the_residuals_or_on_who_is_heaviest():
    """They live in data space: no change of parameters that keeps the outputs touches them."""
    free = sides_of(residuals(), probes=20).signs
    assert torch.equal(sides_of(-2 * residuals(1), probes=20).signs, free)
    assert torch.equal(
        sides_of(residuals(), heaviest=2, probes=20).signs[:, [0, 2]], free[:, [0, 2]]
    )

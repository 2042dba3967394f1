"""The two spaces, and how a subspace is found."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from igsref.linalg.range import Space, Subspace, WholeSpace, apply_blocks, find_range
from tests.closeness import EPS, assert_within
from tests.linalg.exact import Known, cases, doubles, known, only
from tests.strategies import SEEDS, gaussian


def identities(samples: int, height: int) -> torch.Tensor:
    return torch.eye(height, dtype=torch.float64).expand(samples, height, height).contiguous()


def subspace(seed: int, samples: int, height: int, rank: int) -> Subspace:
    matrix = gaussian(seed, samples * height, rank)
    return find_range(matrix, gaussian(seed + 1, samples, height, height), 1e-9)[0]


def dense_projector(space: Subspace) -> torch.Tensor:
    return only(space).basis @ only(space).basis.mT


def clear(case: Known) -> tuple[Subspace, torch.Tensor]:
    return find_range(case.matrix, case.blocks, 64 * float(case.row_error.norm()))


def test_both_spaces_show_the_same_face():
    assert isinstance(WholeSpace(4), Space)
    assert isinstance(subspace(0, 2, 2, 2), Space)


@given(seed=SEEDS, rank=st.integers(0, 6))
def test_energy_is_that_of_the_projected_vectors(seed, rank):
    space, vectors = subspace(seed, 3, 2, rank), gaussian(seed + 2, 6, 3)
    expected = (dense_projector(space) @ vectors).square().sum(dim=0)
    assert_within(space.energy(vectors), expected, 64 * EPS * vectors.square().sum(dim=0))
    assert space.dimension == rank


PLACES = st.lists(st.integers(0, 2), min_size=1, max_size=4)


def embedded(blocks: torch.Tensor, places: list[int]) -> torch.Tensor:
    """Block i in place i of three, and 0 elsewhere."""
    vectors = torch.zeros(3, blocks.shape[1], len(blocks), dtype=torch.float64)
    for column, (block, place) in enumerate(zip(blocks, places, strict=True)):
        vectors[place, :, column] = block
    return vectors.view(-1, len(blocks))


@given(seed=SEEDS, rank=st.integers(0, 6), places=PLACES)
def test_block_energy_is_the_energy_of_the_embedded_block(seed, rank, places):
    space, blocks = subspace(seed, 3, 2, rank), gaussian(seed + 2, len(places), 2)
    expected, size = space.energy(embedded(blocks, places)), blocks.square().sum(dim=1)
    found = space.block_energy(blocks, torch.tensor(places))
    assert_within(found, expected, 64 * EPS * size)


@given(seed=SEEDS, places=PLACES)
def test_whole_space_keeps_everything(seed, places):
    blocks, space = gaussian(seed, len(places), 2), WholeSpace(6)
    expected = blocks.square().sum(dim=1)
    assert torch.equal(space.block_energy(blocks, torch.tensor(places)), expected)
    assert torch.equal(space.energy(embedded(blocks, places)), expected)


@given(seed=SEEDS, samples=st.integers(1, 4), height=st.integers(1, 3), columns=st.integers(0, 4))
def test_applied_blocks_are_the_product_with_a_block_diagonal(seed, samples, height, columns):
    blocks, matrix = (
        gaussian(seed, samples, height, height),
        gaussian(seed, samples * height, columns),
    )
    dense = torch.block_diag(*blocks)
    assert_within(
        apply_blocks(blocks, matrix), dense @ matrix, 8 * EPS * dense.abs() @ matrix.abs()
    )


@given(case=cases())
def test_a_subspace_holds_the_factorisations_that_it_came_from(case):
    space, _ = clear(case)
    # K_Π = U R to n u of each column, but to no row's own size: U comes of one QR of all of K.
    size = only(space).chosen.norm(dim=0).expand_as(only(space).chosen)
    assert_within(only(space).inner @ space.outer, only(space).chosen, 200 * EPS * size)
    # M U Π' = Q T to n u of each row.
    mixed = apply_blocks(only(space).blocks, only(space).inner)
    rows = mixed.norm(dim=1, keepdim=True).expand_as(mixed)
    assert_within(only(space).basis @ space.triangle, mixed[:, space.pivots], 1000 * EPS * rows)
    columns = case.matrix.mT.tolist()
    assert all(column in columns for column in only(space).chosen.mT.tolist())


@given(seed=SEEDS, rank=st.integers(1, 6), columns=st.integers(0, 4))
def test_the_subspace_of_a_clear_matrix_is_its_range(seed, rank, columns):
    case = known(seed, samples=3, height=2, rank=rank, columns=rank + columns)
    space, sizes = clear(case)
    left, sigma, _ = torch.linalg.svd(torch.block_diag(*case.blocks) @ case.matrix)
    expected = left[:, :rank] @ left[:, :rank].mT
    condition = float(sigma[0] / sigma[rank - 1])
    assert space.dimension == rank
    assert len(sizes) == min(6, rank + columns)
    assert_within(dense_projector(space), expected, 1000 * EPS * condition)


def test_directions_at_the_cut_are_left_out_and_above_it_kept():
    matrix = torch.diag(doubles([1.0, 4.0, 2.0**-30, 2.0**-31]))
    for cut, dimension in [(0.0, 4), (2.0**-31, 3), (2.0**-30, 2), (4.0, 0)]:
        space, sizes = find_range(matrix, identities(2, 2), cut)
        assert space.dimension == dimension
        assert sizes.tolist() == [4.0, 1.0, 2.0**-30, 2.0**-31]


def test_no_block_hides_a_direction():
    blocks = identities(2, 2) * doubles([1.0, 1e-150])[:, None, None]
    assert find_range(gaussian(0, 4, 4), blocks, 1e-9)[0].dimension == 4


@pytest.mark.parametrize("columns", [1, 6, 9])
def test_a_matrix_below_the_cut_has_the_range_of_nothing(columns):
    space, sizes = find_range(torch.zeros(6, columns).double(), identities(3, 2), 0.0)
    assert space.dimension == 0
    assert sizes.tolist() == [0.0] * min(6, columns)
    assert space.energy(gaussian(0, 6, 2)).tolist() == [0.0, 0.0]
    assert space.block_energy(gaussian(0, 3, 2), torch.arange(3)).tolist() == [0.0, 0.0, 0.0]

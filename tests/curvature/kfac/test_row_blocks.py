"""Blocks and diagonals of F from rows, held against the dense matrix."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.kfac import chunks
from igsref.curvature.kfac.chunks import source
from igsref.curvature.kfac.row_blocks import row_blocks
from igsref.flat import ranges
from igsref.jacobian.rows import jacobian_rows
from tests.curvature.kfac.cases import AGREEMENT, basis, fisher_block
from tests.strategies import architecture, classes

DENSE = [("1.weight", "1.bias"), ("3.bias",)]
DIAGONAL = ["0.weight", "5.bias"]


@pytest.mark.parametrize("limit", [2**29, 4000, 1])
def test_blocks_and_diagonals_are_those_of_f(limit, monkeypatch):
    monkeypatch.setattr(chunks, "_CHUNK_BYTES", limit)
    model, x, y = architecture("batch norm", 1, 5)
    problem = igsref.as_problem(model, (x, y))
    whole = source(problem, torch.arange(5), [], problem.function, 2**30)
    found, fisher = row_blocks(whole, DENSE, DIAGONAL), igsref.fisher(problem)
    places = ranges(problem.function.parameters)
    for block, names in zip(found, [*DENSE, *([name] for name in DIAGONAL)], strict=True):
        expected = [k for name in names for k in range(places[name].start, places[name].stop)]
        assert block.entries.flatten().tolist() == expected
    atol = AGREEMENT * float(fisher.abs().max())
    for block in found[:2]:
        u = basis(block)
        matrix = u @ torch.diag(block.scalings.flatten()) @ u.mT
        torch.testing.assert_close(matrix, fisher_block(fisher, block), rtol=0, atol=atol)
        assert bool((block.scalings >= 0).all())
    for block in found[2:]:
        expected = fisher_block(fisher, block).diagonal()
        torch.testing.assert_close(block.scalings.flatten(), expected, rtol=0, atol=atol)


def test_a_block_of_few_samples_has_no_negative_scalings():
    model, x, y = architecture("batch norm", 1, 1)
    problem = igsref.as_problem(model, (x, y))
    whole = source(problem, torch.arange(1), [], problem.function, 2**30)
    (block,) = row_blocks(whole, [("0.weight", "1.weight", "3.weight")], [])
    # Rank 2 of 54: what eigh makes of the other eigenvalues is rounding of either sign.
    assert bool((block.scalings >= 0).all())
    assert int((block.scalings > AGREEMENT * block.scalings.max()).sum()) == 2


@pytest.mark.parametrize("limit", [2**29, 40_000, 1])
def test_rows_fit_into_the_working_memory(limit, monkeypatch):
    sizes = []

    def recorded(*args, **options):
        rows = jacobian_rows(*args, **options)
        sizes.append(rows.numel() * rows.element_size())
        return rows

    monkeypatch.setattr("igsref.curvature.kfac.row_blocks.jacobian_rows", recorded)
    monkeypatch.setattr(chunks, "_CHUNK_BYTES", limit)
    # A table of 1,000 rows: the rows of one sample have 64 kB, all else of it far less.
    model = nn.Sequential(nn.Embedding(1000, 4), nn.Flatten(), nn.Linear(4, 3)).double()
    problem = igsref.as_problem(model, (classes(1, 5, 1000)[:, None], classes(2, 5, 3)))
    names = list(problem.function.parameters)
    row_blocks(source(problem, torch.arange(5), [], problem.function, 2**30), [], names)
    row = 8 * problem.num_parameters
    assert sum(sizes) == 5 * 2 * row
    assert max(sizes) <= max(limit, row)

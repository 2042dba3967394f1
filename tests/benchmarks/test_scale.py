"""The routes of benchmarks/scale.py agree on a network small enough to be sure."""

import warnings

import pytest

import igsref
from benchmarks import scale
from tests.measures.test_matrixfree import labelled, perceptron

MODEL, DATA = perceptron(0, 5, 16, 16, 3), labelled(0, 10, (5,), 3)


def test_every_route_finds_a_share_of_the_same_number():
    model = MODEL.float()
    x, y = DATA
    problem = igsref.as_problem(model, (x.float(), y))
    assert igsref.exact_igs(problem).saturated
    with warnings.catch_warnings():
        # Of curvlinops: CG that is told to go on beyond convergence.
        warnings.filterwarnings("ignore", "CG terminated")
        rows = list(scale.measured(model, (x.float(), y), limit=40, peers=True))
    names = [found.name for found in rows]
    assert names == [
        "igsref", "no weights", "nothing", "curvlinops LSMR", "curvlinops CG", "top 20",
    ]  # fmt: skip
    share = {found.name: list(found.shares.values())[-1] for found in rows}
    for name in names[:3]:
        assert 0.999 <= share[name] <= 1
    # LSMR in float32 squares the condition number; it comes near, and damping leaves something out.
    assert 0.5 < share["curvlinops LSMR"] < 1.1
    assert 0.3 < share["curvlinops CG"] < 1
    # All 20 pairs of rank 20 are there: the truncated sum is the whole.
    assert share["top 20"] == pytest.approx(1, rel=1e-3)

"""Rows of sketches and estimates: the CPU agrees with itself, and a wrong device is found out."""

import torch

from benchmarks.gpu_agreement import Beside, Case
from benchmarks.gpu_estimates import estimate_rows
from tests.measures.test_matrixfree import labelled, perceptron

CPU = torch.device("cpu")


def case(seed, samples=30):
    return Case("small", perceptron(seed, 3, 4, 2), labelled(seed, samples, (3,), 2), False)


def test_the_cpu_agrees_with_itself():
    rows = list(estimate_rows(Beside(case(0).problem(CPU), case(0).problem(CPU))))
    assert [row.what for row in rows if not row.ok] == []
    assert [row.what for row in rows] == [
        *("sketch: value", "trace, fisher", "trace, hessian"),
        *("density: first moment", "conjugate gradients: G, lower"),
    ]


def test_another_network_is_found_out_in_every_row_that_compares():
    rows = list(estimate_rows(Beside(case(0).problem(CPU), case(1).problem(CPU))))
    assert [row.ok for row in rows[:4]] == [False] * 4


def test_a_route_that_raises_is_a_row_that_fails(monkeypatch):
    pair = Beside(case(0).problem(CPU), case(0).problem(CPU))
    monkeypatch.setattr("igsref.fisher_solve", None)
    last = list(estimate_rows(pair))[-1]
    assert not last.ok
    assert last.what.startswith("conjugate gradients: TypeError")

"""F V and H V beside the dense matrices; what is counted."""

import pytest
import torch

import igsref
from igsref.curvature import products
from igsref.curvature.products import counted, curvature_product
from tests.closeness import EPS, assert_within
from tests.measures.test_matrixfree import labelled, perceptron
from tests.peak_memory import measured, needs_proc
from tests.strategies import gaussian

NETWORK = (perceptron(0, 2, 4, 3), labelled(0, 9, (2,), 3))
POOL = labelled(3, 20, (2,), 3)[0]


@pytest.mark.parametrize("dtype, allowed", [(torch.float64, 100 * EPS), (torch.float32, 1e-5)])
@pytest.mark.parametrize("of", ["fisher", "hessian"])
def test_both_are_those_of_the_dense_matrices(of, dtype, allowed):
    problem = igsref.as_problem(*NETWORK, fisher_data=POOL)
    dense = igsref.fisher(problem) if of == "fisher" else igsref.hessian(problem)
    vectors = gaussian(1, problem.num_parameters, 3)
    found = curvature_product(problem, of, dtype=dtype, width=3)(vectors)
    assert_within(found, dense @ vectors, allowed * float(dense.norm() * vectors.norm()))


@pytest.mark.parametrize(
    "of, dtype, message",
    [
        ("gram", torch.float64, "of must be 'fisher' or 'hessian'; got 'gram'"),
        ("hessian", torch.float16, r"dtype must be torch\.float32 or torch\.float64; got"),
    ],
)
def test_another_matrix_is_refused(of, dtype, message):
    problem = igsref.as_problem(*NETWORK)
    with pytest.raises(ValueError, match=message):
        curvature_product(problem, of, dtype=dtype)


class Bar:
    """What a bar was told."""

    def __init__(self, total, desc):
        self.total, self.desc, self.n = total, desc, 0

    def update(self, count):
        self.n += count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def bars(monkeypatch):
    made = []

    def bar(*, total, desc, **_):
        made.append(Bar(total, desc))
        return made[-1]

    monkeypatch.setattr(products, "tqdm", bar)
    return made


def test_columns_are_counted(bars):
    with counted(lambda vectors: 2 * vectors, "products", 5) as shown:
        assert shown(torch.ones(4, 3)).eq(2).all()
        shown(torch.ones(4, 2))
    assert [(bar.desc, bar.total, bar.n) for bar in bars] == [("products", 5, 5)]


@pytest.mark.parametrize(
    "call, total",
    [
        (lambda: igsref.curvature_trace(*NETWORK, products=9), 9),
        (lambda: igsref.curvature_trace(*NETWORK, products=100), 27),
        (lambda: igsref.spectral_density(*NETWORK, probes=2, steps=3), 6),
        (lambda: igsref.spectral_density(*NETWORK, probes=1, steps=99), 27),
        (lambda: igsref.fisher_solve(*NETWORK, max_iterations=3), None),
    ],
)
def test_bars_end_at_their_totals(bars, call, total):
    found = call()
    (bar,) = bars
    assert bar.total == total
    assert bar.n == found.products
    assert total in (None, bar.n)


@pytest.mark.parametrize(
    "call", [igsref.curvature_trace, igsref.spectral_density, igsref.fisher_solve]
)
def test_what_does_not_fit_is_refused_before_any_derivative(call, monkeypatch):
    for module in (products, igsref.curvature.solve):
        monkeypatch.setattr(module, "factor_operator", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(MemoryError, match=r"27 parameters needs .*iB, and 1000 B is there; choose"):
        call(*NETWORK, memory=1000)


PROBLEM = """
import igsref
from igsref.curvature import {name} as module

def problem(width):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh())
    model.append(torch.nn.Linear(width, width)).append(torch.nn.Tanh())
    model.append(torch.nn.Linear(width, 3)).double()
    return igsref.as_problem(model, (torch.randn(3, 2).double(), torch.arange(3)))

needed, large = [], problem(1000)
module.require_memory = lambda size, *_: needed.append(size)
call = lambda problem: igsref.{call}
"""
VECTOR = 8 * 1_008_000
ALLOCATOR = 100e6
"""Bytes that a prediction may count beside three times the peak: batches that are not filled."""


@pytest.mark.long
@needs_proc
@pytest.mark.parametrize(
    "name, call",
    [
        ("trace", "curvature_trace(problem, products=60)"),
        ("density", "spectral_density(problem, probes=1, steps=8)"),
        ("solve", "fisher_solve(problem, max_iterations=4)"),
    ],
)
def test_predicted_bytes_cover_the_measured_peak_and_not_much_more(name, call):
    definitions = PROBLEM.format(name=name, call=call)
    predicted, grown = measured(definitions, "call(problem(8))", "call(large)", "needed[-1]")
    assert grown > 3 * VECTOR  # else the measurement has missed the vectors
    assert grown <= predicted <= 3 * grown + ALLOCATOR

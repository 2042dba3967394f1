"""Steps are counted on networks that are known to be saturated, and exponents are slopes."""

import math

import pytest
import torch

from benchmarks import growth
from benchmarks.shares import Found
from tests.measures.test_matrixfree import labelled, perceptron


def point(samples, parameters, shares):
    return growth.Point(
        "x",
        samples,
        2 * samples,
        parameters,
        1.0,
        Found("igsref", shares, dict.fromkeys(shares, 1.0)),
        2,
    )


def test_exponents_are_slopes_of_logarithms():
    assert growth.exponent([10, 20, 40], [3, 6, 12]) == pytest.approx(1)
    assert growth.exponent([10, 20, 40], [5, 5, 5]) == pytest.approx(0)
    assert math.isnan(growth.exponent([10, 10], [5, 6]))


def test_points_that_never_came_there_are_counted_out():
    points = [point(10, 7, {2: 0.991, 4: 0.9995}), point(20, 7, {4: 0.992, 9: 0.995})]
    assert growth.exponents(points, "samples") == (
        "1.00 (to 1%, 2 of 2 points), nan (to 0.1%, 1 of 2 points)"
    )
    assert growth.exponents(points, "parameters").startswith("nan")
    assert points[1].row()[5:7] == ["4", "–"]


def test_a_saturated_network_is_measured_and_another_refused():
    model, data = perceptron(0, 5, 16, 16, 3).float(), labelled(0, 10, (5,), 3)
    found = growth.measured("small", model, (data[0].float(), data[1]))
    assert (found.samples, found.rows, found.parameters) == (10, 20, 419)
    assert 1 <= found.found.steps_to(0.001) <= 20
    with torch.no_grad():
        model[0].bias.fill_(-100.0)  # dead
    with pytest.raises(RuntimeError, match="dead, N = 10: full row rank was not shown"):
        growth.measured("dead", model, (data[0].float(), data[1]))


def test_a_small_run_prints_its_points_and_exponents(tmp_path, capsys):
    sizes = "--train 10 --epochs 1 --samples 2 3 --factors 1 --few 2"
    growth.main(["--data", "synthetic", *sizes.split(), "--output", str(tmp_path)])
    out = capsys.readouterr().out
    assert "resnet8" in out
    assert "wrn10_1" in out
    assert "exponent of the steps in N" in out
    assert "exponent of the steps in m: nan" in out

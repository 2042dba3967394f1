"""The benchmark runs, its routes agree where all are right, and its truth is the truth."""

import os

import pytest
import torch

from benchmarks import exact, perceptrons, processes
from verification.networks import draw_network
from verification.oracle import truth as oracle_truth

RELU_WITH_BIAS = [("dead", 0), ("dead", 4), ("duplicated", 8), ("rank-deficient", 3)]


def drawn(kind, seed):
    network = draw_network(kind, seed)
    inputs, labels = network.inputs.numpy(), network.labels.numpy()
    return perceptrons.as_network(kind, network.model, inputs, labels)


def networks():
    plain = exact.three_gaussians((2, 3, 3, 3), 9)
    return [plain, exact.node_scaled(plain), *(drawn(*which) for which in RELU_WITH_BIAS)]


@pytest.mark.parametrize("network", networks(), ids=lambda network: network.name)
def test_truth_agrees_with_the_elimination_of_the_fisher_matrix(network):
    layers = [(weight.tolist(), bias.tolist()) for weight, bias in network.layers]
    expected = oracle_truth(layers, "relu", network.inputs.tolist(), network.labels.tolist())
    found = exact.truth(network)
    assert found.rank == expected.rank
    assert found.value == expected.value.str(30, radius=False)
    assert found.ceiling == expected.ceiling.str(30, radius=False)


def test_truth_raises_where_the_precision_does_not_suffice():
    # 40 bits cannot show that a vector is null to 2^−15 of rows that differ in their 50th bit.
    with pytest.raises(ArithmeticError, match="raise bits"):
        exact.truth(exact.three_gaussians((2, 8, 3), 30), bits=40)


@pytest.mark.parametrize("route", [exact.VALUE, exact.IGSREF, exact.LOW_RANK, exact.DENSE])
def test_routes_agree_on_a_well_scaled_network(route):
    network = exact.three_gaussians((2, 4, 3), 12)
    found = exact.measure(route, network, network, 1)
    assert found.value == found.scaled_value
    assert exact.right_digits(found.value, exact.truth(network).value) > 10


@pytest.mark.parametrize("value, digits", [(1.0, 16.0), (1.0 + 2.0**-20, 6.0), (-3.0, 0.0)])
def test_right_digits_count_the_relative_error(value, digits):
    assert exact.right_digits(value, "1") == pytest.approx(digits, abs=0.1)


def test_a_fresh_process_measures_and_leaves_the_environment_alone():
    before = dict(os.environ)
    network = exact.three_gaussians((2, 3, 3), 9)
    with processes.fresh_processes(1, 1) as submit:
        found = submit(exact.measure, exact.IGSREF, network, network, 1).result()
    assert dict(os.environ) == before
    assert found.seconds > 0
    assert found.memory > 0
    assert 1 <= found.repetitions <= exact.REPETITIONS  # fewer on a busy machine


@pytest.mark.parametrize("layout", [[], ["--markdown"]], ids=["plain", "markdown"])
def test_a_quick_run_prints_every_route_for_both_networks(layout, capsys):
    before = torch.get_num_threads(), torch.get_default_dtype()
    exact.main(["--quick", *layout])
    printed = capsys.readouterr()
    lines = [line.removeprefix("| ") for line in printed.out.splitlines()]
    for route in exact.ROUTES:
        assert sum(line.startswith(route + " ") for line in lines) == 2
        assert printed.err.count(route) == 2
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before

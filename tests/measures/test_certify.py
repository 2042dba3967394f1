"""Certified values: they hold the truth, digit by digit, and say what they do not know."""

import copy
import re
import warnings
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from flint import arb, arb_mat, ctx, fmpq_mat
from torch import nn

import igsref
from igsref.exact.arithmetic import BALLS, RATIONALS
from igsref.exact.decimals import Decimals, enclosed
from igsref.exact.energy import energy_beside_null, energy_in_range
from igsref.exact.network import linearised
from igsref.exact.output_metric import output_metric
from igsref.exact.rank import certified_rank
from igsref.measures import certify as module
from igsref.measures.certify import (
    certify,
    exact_gram,
    exact_rank,
    proven_pivots,
    rank_certificate,
)
from tests.exact.networks import CASES, Case, coarse
from tests.linalg.exact import rational
from tests.strategies import classes, convolutional, fill_, gaussian, mlp
from verification.accuracy import known
from verification.networks import (
    EXTREME_KINDS,
    KINDS,
    PIECEWISE_LINEAR,
    as_lists,
    draw_network,
    linear_layers,
)
from verification.oracle import (
    batches_with_replacement,
    batches_without_replacement,
    minibatch_brute_force,
    truth,
)

SEEDS = range(3)
BITS = 4000


@pytest.fixture
def as_users_run_it(monkeypatch):
    """Without the annotations that pytest executes: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def data_of(network):
    return network.inputs, network.labels


@cache
def certified(kind, seed):
    network = draw_network(kind, seed)
    return certify(network.model, data_of(network))


def number(end):
    """A fraction as a ball, at the precision of the moment."""
    return arb(end.numerator) / arb(end.denominator)


def assert_holds(found, exact):
    """lower ≤ exact ≤ upper for all of a ball of the oracle; it is the narrower of the two."""
    low, high = found.fractions
    with ctx.workprec(BITS):
        assert number(low) <= exact and exact <= number(high), f"{exact.str(40)} outside {found}"


# Against the oracle, which shares nothing with the library.


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS + EXTREME_KINDS)
def test_all_numbers_hold_the_truth_with_the_digits_asked_for(kind, seed):
    network, exact, ceiling = known(kind, seed)
    found = certified(kind, seed)
    assert found.rank == exact.rank
    assert_holds(found.igs, exact.value)
    assert_holds(found.full_batch, exact.full_batch)
    assert_holds(found.ceiling_enclosure, ceiling)
    assert len(found.per_sample) == len(network.labels)
    for term, true in zip(found.per_sample, exact.per_sample, strict=True):
        assert_holds(term, true)
    assert min(found.digits, found.ceiling_enclosure.digits) >= 25


@pytest.mark.parametrize("kind", KINDS + EXTREME_KINDS)
def test_strings_parse_and_are_in_order(kind):
    found = certified(kind, 0)
    assert re.fullmatch(r"\d[\d.]*(e-?\d+)?", found.lower)
    assert 0 <= Fraction(found.lower) <= Fraction(found.upper) <= Fraction(found.ceiling)
    terms = [found.full_batch, *found.per_sample, *found.sample_ceiling]
    assert all(0 <= Fraction(term.lower) <= Fraction(term.upper) for term in terms)
    assert found.full_batch.fractions[1] <= Fraction(found.upper)
    n, mean = found.num_samples, Fraction(0)
    for term, most in zip(found.per_sample, found.sample_ceiling, strict=True):
        assert term.fractions[1] <= most.fractions[1]
        mean += term.fractions[1] / n
    assert mean >= Fraction(found.lower)


def test_its_text_names_the_numbers():
    found = certified("rank-deficient", 0)
    text = str(found)
    assert f"IGS      [{found.lower}, {found.upper}]" in text
    assert f"rank     {found.rank} (exact null vectors)" in text
    assert str(found.ceiling_enclosure) in text and str(found.full_batch) in text


NETWORKS = [("trained", 1), ("duplicated", 0)]  # ReLU, tanh


@pytest.mark.parametrize("kind, seed", NETWORKS)
@pytest.mark.parametrize("digits", [1, 25, 60, 350])
def test_as_many_digits_as_asked(kind, seed, digits):
    network = draw_network(kind, seed)
    found = certify(network.model, data_of(network), digits=digits)
    assert found.digits >= digits
    total = found.igs.fractions[1]
    # Terms are as narrow as that, relatively, or beside N times the IGS, their sum.
    for low, high in (term.fractions for term in found.per_sample):
        assert high - low <= max(high, found.num_samples * total) / 10**digits
    assert_in_common(found.igs, certified(kind, seed).igs)


def test_the_precision_is_doubled_until_the_digits_are_there(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_BITS", 64)
    network, exact, _ = known("extreme", 0)
    found = certify(network.model, data_of(network), digits=8)
    assert found.bits in (128, 256)
    assert found.digits >= 8
    assert_holds(found.igs, exact.value)
    assert_in_common(found.igs, certified("extreme", 0).igs)


# Two routes to the same energies.


def both_routes(problem):
    """Energies from a basis of the range and from one of its complement, made independently."""
    exact = linearised(problem, RATIONALS)
    pivots = list(certified_rank(exact.gram).pivots)
    null = fmpq_mat(exact.gram.tolist()).rref()[0].tolist()[: len(pivots)]
    free = [j for j in range(len(exact.gram)) if j not in pivots]
    W = RATIONALS.zeros(len(free), len(exact.gram))
    for row, column in enumerate(free):
        W[row, column] = RATIONALS.number(1.0)
        for line, pivot in enumerate(pivots):
            W[row, pivot] = -null[line][column]
    metric = output_metric(problem, module._balls(exact.logits))
    vectors = module._vectors(problem, metric)
    return (
        energy_in_range(module._balls(exact.gram[:, pivots]), metric.metric, vectors),
        energy_beside_null(module._balls(W), metric.inverse, vectors),
    )


@pytest.mark.parametrize("kind, seed", [("dead", 1), ("rank-deficient", 0), ("trained", 0)])
def test_range_and_null_space_give_the_same(kind, seed):
    network = draw_network(kind, seed)
    problem = igsref.as_problem(network.model, data_of(network))
    with ctx.workprec(600):
        inside, beside = both_routes(problem)
        for a, b in zip(inside, beside, strict=True):
            assert a.overlaps(b)
            assert a.rad() < abs(a) * 2.0**-100 and b.rad() < abs(b) * 2.0**-100
        total = enclosed(sum(inside[:-1], arb(0)))
    assert_in_common(total, certified(kind, seed).igs)


def assert_in_common(one, other):
    """Two enclosures of one number."""
    assert max(one.fractions[0], other.fractions[0]) <= min(one.fractions[1], other.fractions[1])


# Mini-batches.


@pytest.fixture(scope="module")
def small():
    """Five samples of a network of the zoo."""
    network = draw_network("rank-deficient", 0)
    rows = slice(0, 5)
    return replace(network, inputs=network.inputs[rows], labels=network.labels[rows])


@pytest.mark.parametrize(
    "size, replacement", [(1, False), (2, False), (4, False), (5, False), (1, True), (3, True)]
)
def test_minibatches_are_the_mean_over_all_batches(small, size, replacement):
    listed = (batches_with_replacement if replacement else batches_without_replacement)(5, size)
    exact = minibatch_brute_force(*as_lists(small), listed)
    found = certify(small.model, data_of(small)).minibatch(size, replacement=replacement)
    assert_holds(found, exact)
    assert found.digits >= 20


def test_one_sample_is_every_batch():
    network = draw_network("trained", 1)
    found = certify(network.model, (network.inputs[:1], network.labels[:1]))
    assert found.minibatch(1) == found.igs
    assert_in_common(found.minibatch(3, replacement=True), found.igs)


def test_batches_that_cannot_be_drawn_are_refused(small, as_users_run_it):
    found = certify(small.model, data_of(small), digits=5)
    with pytest.raises(ValueError, match="batch_size must be at most N = 5 without replacement"):
        found.minibatch(6)
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        found.minibatch(0, replacement=True)
    with pytest.raises(TypeError, match=r"batch_size must be an integer; got float 2\.0"):
        found.minibatch(2.0)
    assert found.minibatch(6, replacement=True).fractions[0] > 0


# Other likelihoods, labels and pools: F and g by their definitions.


def solve(matrix, right):
    """G⁻¹ R in balls."""
    return np.array(arb_mat(matrix.tolist()).solve(arb_mat(right.tolist())).tolist(), dtype=object)


def softmax(f):
    weights = [(f_c - f[0]).exp() for f_c in f]
    return [w / sum(weights, arb(0)) for w in weights]


def output_metric_and_gradient(name, f, y):
    """Λ and u of one sample; y: targets, or None for an input without a label."""
    if name == "gaussian":
        return np.diag([arb(1)] * len(f)), None if y is None else f - y
    if name == "bernoulli":
        p = np.array([1 / (1 + (-v).exp()) for v in f])
        return np.diag(p * (1 - p)), None if y is None else p - y
    p = np.array(softmax(f))
    return np.diag(p) - np.outer(p, p), None if y is None else p - y


def jacobian(model, x, names):
    """(C, m) of one input, one backward pass a logit."""
    theta = [dict(model.named_parameters())[name] for name in names]
    (outputs,) = model(x[None])
    rows = [torch.autograd.grad(f, theta, retain_graph=True) for f in outputs]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def by_definition(model, problem, targets):
    """(IGS, G, per-sample terms, rank): F = (1/N_F) Σ JᵀΛJ, and F x = g solved on its pivots."""
    name, names = problem.likelihood.name, list(problem.function.parameters)
    labelled = dict(zip(problem.members.tolist(), BALLS.array(targets), strict=True))
    fisher, gradients, spanning = arb(0), {}, []
    for k, x in enumerate(problem.samples.args[0]):
        J = jacobian(model, x, names)
        spanning.append(J[1:] - J[:1] if name == "categorical" else J)
        f = BALLS.array(model(x[None])[0].detach())
        metric, u = output_metric_and_gradient(name, f, labelled.get(k))
        exact = BALLS.array(J)
        fisher = fisher + exact.T @ metric @ exact / problem.pool_size
        if u is not None:
            gradients[k] = u @ exact
    echelon, rank = rational(torch.cat(spanning)).rref()
    pivots = [[x != 0 for x in row].index(True) for row in echelon.tolist()[:rank]]
    g = np.stack([gradients[k][pivots] for k in problem.members.tolist()])
    table = g @ solve(fisher[pivots][:, pivots], g.T)
    n = problem.num_samples
    return table.trace() / n, table.sum() / n**2, table.diagonal(), rank


def soft_labels(samples, count):
    """Dyadic probabilities: their sum is 1, exactly."""
    q = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.125, 0.375, 0.5]]).double()
    return q.repeat(samples, 1)[:samples, :count]


PERCEPTRON = CASES["ReLU"].build
LIKELIHOODS = {
    "hard": Case(PERCEPTRON, (3,), samples=18),
    "soft": Case(PERCEPTRON, (3,), samples=18),
    "bernoulli": Case(PERCEPTRON, (3,), {"likelihood": "bernoulli"}, samples=14),
    "gaussian": Case(PERCEPTRON, (3,), {"likelihood": "gaussian"}, samples=14),
    "pool": Case(PERCEPTRON, (3,), {"fisher_data": coarse(1, 16, 3)}, samples=4),
    "members": Case(
        PERCEPTRON,
        (3,),
        {"fisher_data": coarse(500, 18, 3)[:16], "members": torch.arange(4)},
        samples=4,
    ),
    "some parameters": Case(PERCEPTRON, (3,), {"parameters": ["0.weight", "2.bias"]}, samples=14),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_other_problems_are_those_of_the_definition(name):
    model, problem = LIKELIHOODS[name].problem(0)
    if name == "soft":
        x = problem.samples.args[0]
        problem = igsref.as_problem(model, (x, soft_labels(len(x), 3)))
    found = certify(problem)
    with ctx.workprec(800):
        igs, together, terms, rank = by_definition(model, problem, problem.targets)
    assert found.rank == rank < problem.num_rows
    assert_holds(found.igs, igs)
    assert_holds(found.full_batch, together)
    for term, true in zip(found.per_sample, terms, strict=True):
        assert_holds(term, true)
    assert float(found.igs) < 0.999 * float(found.ceiling_enclosure)


# Networks in balls throughout.


def with_twins():
    """A tanh network whose second hidden unit is the first one again."""
    model = mlp(0, [2, 3, 2], nn.Tanh)
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0]
        model[0].bias[1] = model[0].bias[0]
        model[2].weight[:, 1] = model[2].weight[:, 0]
    return model, (gaussian(1, 12, 2), classes(2, 12, 2))


@pytest.fixture(scope="module")
def undecided():
    model, data = with_twins()
    return model, data, certify(model, data, digits=5)


def test_a_rank_that_stays_undecided_is_none_and_the_enclosure_reaches_the_ceiling(undecided):
    model, data, found = undecided
    assert found.rank is None
    low, high = map(int, re.fullmatch(r"between (\d+) and (\d+)", found.rank_source).groups())
    assert f"rank     undecided ({found.rank_source})" in str(found)
    assert found.igs.fractions[1] == found.ceiling_enclosure.fractions[1]
    assert found.full_batch.fractions[1] == found.ceiling_enclosure.fractions[1]
    value = igsref.exact_igs(model, data)
    assert low == value.rank < high
    assert float(Fraction(found.lower)) == pytest.approx(value.value, rel=1e-9)
    assert float(Fraction(found.ceiling)) == pytest.approx(value.ceiling, rel=1e-9)
    for term, most in zip(found.per_sample, found.sample_ceiling, strict=True):
        assert term.fractions[1] == most.fractions[1]


def test_an_undecided_rank_still_holds_the_truth(undecided):
    """The twins are exact, so that the oracle's gap is a true one."""
    model, (x, y), found = undecided
    layers = [(m.weight.tolist(), m.bias.tolist()) for m in linear_layers(model)]
    exact = truth(layers, "tanh", x.tolist(), y.tolist())
    assert_holds(found.igs, exact.value)
    # And the lower ends are the truth, rounded down: all directions are among the proven ones.
    for lower, true in ((found.lower, exact.value), (found.full_batch.lower, exact.full_batch)):
        with ctx.workprec(BITS):
            assert true - number(Fraction(lower)) < true * 10**-15
    assert_holds(found.full_batch, exact.full_batch)
    for term, true in zip(found.per_sample, exact.per_sample, strict=True):
        assert_holds(term, true)


def test_more_precision_that_shows_nothing_more_is_given_up(undecided, monkeypatch):
    model, data, found = undecided
    assert (found.bits, found.digits, found.asked) == (4 * module._FIRST_BITS, 0, 5)
    monkeypatch.setattr(module, "_FRUITLESS_DOUBLINGS", 1)
    again = certify(model, data, digits=5)
    assert again.bits == 2 * module._FIRST_BITS
    assert (again.lower, again.upper) == (found.lower, found.upper)


def test_derivatives_that_take_more_bits_to_be_seen_are_not_given_up():
    """A unit near tanh 300: its derivatives are near 2^−860, what they add to K near 2^−1720."""
    model, data = mlp(0, [2, 2, 2], nn.Tanh), (gaussian(1, 7, 2), classes(2, 7, 2))
    with torch.no_grad():
        model[0].bias[0] = 300.0
    found = certify(model, data)
    assert found.rank == 7  # 5 at 256, 512 and 1,024 bits
    assert found.bits == 8 * module._FIRST_BITS


def test_a_known_bound_closes_an_undecided_rank(undecided):
    model, data, loose = undecided
    low = int(loose.rank_source.split()[1])
    found = certify(model, data, digits=5, rank_bound=low)
    assert (found.rank, found.rank_source) == (low, "rank_bound")
    assert found.digits >= 5
    assert loose.igs.fractions[0] <= found.igs.fractions[1] < loose.igs.fractions[1]


def test_normalised_convolutions_are_certified():
    model = fill_(convolutional(normalised=True).double(), 0).eval()
    x, y = gaussian(1, 9, 1, 5, 5), classes(2, 9, 3)
    found, value = certify(model, (x, y), digits=10), igsref.exact_igs(model, (x, y))
    assert found.rank == value.rank
    assert float(found.igs) == pytest.approx(value.value, rel=1e-9)
    assert found.digits >= 10


def test_pivots_are_proven_largest_first_and_never_too_many():
    D = BALLS.array(gaussian(0, 6, 3))
    with ctx.workprec(200):
        gram = BALLS.matmul(D, D.T)
        whole = gram + 0 * arb(0, 2.0**-150)
        blurred = gram + np.full(gram.shape, arb(0, 2.0**-150), dtype=object)
        assert len(proven_pivots(whole, 6)) == len(proven_pivots(blurred, 6)) == 3
        assert proven_pivots(blurred, 2) == proven_pivots(blurred, 2)[:2]
        assert proven_pivots(np.full((2, 2), arb(0, 1), dtype=object), 2) == []
    chosen = proven_pivots(blurred, 1)
    assert chosen == [int(gaussian(0, 6, 3).norm(dim=1).argmax())]


# Ranks.


@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_rank_of_piecewise_linear_networks_is_the_oracle_s(kind):
    for seed in SEEDS:
        network, exact, _ = known(kind, seed)
        if isinstance(network.model[1], PIECEWISE_LINEAR):
            assert exact_rank(network.model, data_of(network)) == exact.rank


def test_a_certificate_of_a_network_can_be_checked():
    network = draw_network("dead", 1)
    problem = igsref.as_problem(network.model, data_of(network))
    found = rank_certificate(problem)
    gram = linearised(problem, RATIONALS).gram
    assert found.null is not None
    assert found.holds(gram) is True
    gram[0, 0] += 1
    assert found.holds(gram) is False


def test_a_network_that_is_dead_on_all_samples_has_rank_and_igs_zero():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(-1.0)
    data = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 3.0]]), torch.tensor([0, 1, 0])
    found = certify(model, data)
    assert (found.rank, found.lower, found.upper) == (0, "0", "0")
    assert found.full_batch == Decimals("0", "0")
    # Equal logits: each sample has odds of 1.
    assert found.ceiling_enclosure.contains(3.0)


def test_copies_of_an_input_share_one_ceiling():
    _, exact, ceiling = known("duplicated", 0)
    assert ceiling < exact.ceiling
    assert_holds(certified("duplicated", 0).ceiling_enclosure, ceiling)


@pytest.mark.parametrize(
    "kind, function", [(nn.ReLU, certify), (nn.Tanh, certify), (nn.ReLU, exact_rank)]
)
def test_a_rank_bound_below_the_rank_is_refused(kind, function):
    model, data = mlp(0, [2, 3, 3], kind), (gaussian(1, 12, 2), classes(2, 12, 3))
    rank = certify(model, data, digits=5).rank
    assert certify(model, data, digits=5, rank_bound=rank).rank == rank
    message = f"rank_bound={rank - 1} is below the rank that is proven, {rank}$"
    with pytest.raises(ValueError, match=message):
        function(model, data, rank_bound=rank - 1)


# What is refused.

DATA = gaussian(1, 4, 2), classes(2, 4, 2)


@pytest.mark.parametrize(
    "digits, error, message",
    [
        (0, ValueError, "digits must be at least 1; got 0"),
        (-3, ValueError, "digits must be at least 1; got -3"),
        (5000, ValueError, "digits must be at most 1000; got 5000"),
        (1.5, TypeError, "digits must be an integer; got float 1.5"),
        ("7", TypeError, "digits must be an integer; got str '7'"),
        (True, TypeError, "digits must be an integer; got True"),
    ],
)
def test_digits_out_of_range_are_refused(digits, error, message, as_users_run_it):
    with pytest.raises(error, match=re.escape(message)):
        certify(mlp(0, [2, 3, 2], nn.ReLU), DATA, digits=digits)


@pytest.mark.parametrize("function", [certify, exact_gram, exact_rank, rank_certificate])
def test_other_networks_are_refused_with_the_reason(function):
    model = nn.Sequential(nn.Linear(2, 3), nn.ELU(), nn.Linear(3, 2)).double()
    message = r"model must be of a kind that is computed exactly: layer 1 \(ELU\) has no exact"
    with pytest.raises(ValueError, match=message):
        function(model, DATA)


@pytest.mark.parametrize("samples", [4, 1600])
@pytest.mark.parametrize("function", [exact_gram, exact_rank, rank_certificate])
def test_a_smooth_network_has_no_exact_rank_however_small(function, samples):
    data = gaussian(1, samples, 2), classes(2, samples, 2)
    with pytest.raises(ValueError, match="model must be piecewise linear for an exact rank"):
        function(mlp(0, [2, 3, 2], nn.Tanh), data)


def test_the_certificate_of_the_page_is_checked_as_it_says(capsys):
    page = (Path(__file__).parents[2] / "docs" / "certified.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(import igsref.*?)```", page, re.DOTALL)
    scope = {}
    exec(block, scope)
    (told,) = re.findall(r"^# (RankCertificate.*)$", block, re.MULTILINE)
    assert capsys.readouterr().out == f"{told}\n"
    assert scope["certificate"].holds(scope["K"])


def test_a_certificate_is_checked_against_the_matrix_of_its_network():
    network = draw_network("rank-deficient", 0)
    certificate = rank_certificate(network.model, data_of(network))
    gram = exact_gram(network.model, data_of(network))
    assert certificate.null is not None and certificate.holds(gram)
    assert fmpq_mat(gram.tolist()).rank() == certified("rank-deficient", 0).rank
    other = exact_gram(network.model, (network.inputs + 0.125, network.labels))
    assert not certificate.holds(other)


def test_digits_beyond_all_precision_are_an_error(monkeypatch):
    monkeypatch.setattr(module, "MOST_BITS", 1000)
    with pytest.raises(ArithmeticError, match="200 digits could not be certified with 1000 bits"):
        certify(mlp(0, [2, 3, 2], nn.ReLU), DATA, digits=200)


def test_a_kink_that_no_precision_decides_is_named():
    """Equal units with outgoing weights 1 and −1: the sum is 0, and balls cannot know it."""
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    model[2].weight.data[0, 1], model[2].bias.data[0] = -0.5, 0.0
    with pytest.raises(ArithmeticError, match=r"bits: the sign of .* is open"):
        certify(model.double(), (gaussian(0, 3, 1), torch.tensor([0, 1, 1])))


# Powers of two, which round nothing.


def scaled_by_powers_of_two(network, seed):
    """The network with hidden units scaled by 2^−20 to 2^20."""
    model = copy.deepcopy(network.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for lower, upper in pairwise(linear_layers(model)):
            powers = torch.randint(-20, 21, (lower.out_features,), generator=generator).double()
            lower.weight.mul_(2.0 ** powers[:, None])
            if lower.bias is not None:
                lower.bias.mul_(2.0**powers)
            upper.weight.div_(2.0**powers)
    return model


@pytest.mark.parametrize("kind", ["rank-deficient", "dead", "badly-scaled", "misclassified"])
def test_powers_of_two_change_no_digit(kind):
    network = draw_network(kind, 0)
    assert isinstance(network.model[1], PIECEWISE_LINEAR)
    model = scaled_by_powers_of_two(network, 1)
    assert not torch.equal(model[0].weight, network.model[0].weight)
    before, after = certified(kind, 0), certify(model, data_of(network))
    for name in ("lower", "upper", "ceiling", "rank", "full_batch", "per_sample"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.minibatch(2) == before.minibatch(2)


# The float64 bracket, where the exact rank closes it.

WIDEST = 1e-6


@pytest.mark.long
def test_brackets_of_piecewise_linear_networks_are_closed_by_their_exact_rank():
    sources = Counter()
    for kind, seed in product(KINDS, SEEDS):
        network = draw_network(kind, seed)
        lowest = float(network.model(network.inputs).detach().softmax(dim=1).min())
        if not isinstance(network.model[1], PIECEWISE_LINEAR) or lowest <= 1e-12:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", igsref.AccuracyWarning)
            result = igsref.exact_igs(network.model, data_of(network))
        found = certified(kind, seed)
        assert result.grade == "verified"
        assert result.rank_lower == result.rank_upper == found.rank
        low, high = found.igs.fractions
        assert Fraction(result.lower) <= low and high <= Fraction(result.upper)
        assert result.upper - result.lower <= WIDEST * result.value, (kind, seed)
        by_null_vectors = found.rank_source == "exact null vectors"
        assert result.rank_source == ("exact rank" if by_null_vectors else found.rank_source)
        sources[result.rank_source] += 1
    assert sources["exact rank"] >= 8


def test_statistics_are_those_of_the_problem_and_not_of_what_became_of_the_module():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)).double()
    problem = igsref.as_problem(model.eval(), (gaussian(3, 4, 2), torch.tensor([0, 1, 1, 0])))
    before = igsref.certify(problem)
    model[1].running_var.mul_(7.0)
    model[1].running_mean.add_(1.0)
    assert igsref.certify(problem) == before

"""A pool for the Fisher matrix: every form it may come in, and every one it may not."""

import jaxtyping
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import igsref
from igsref.data import collect
from igsref.pool import multiplicity, pooled
from tests.random_states import states
from tests.strategies import classes, gaussian, mlp


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch):
    """Without the annotations that pytest executes: they refuse first, and draw numbers."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


X, Y = gaussian(1, 4, 3), classes(2, 4, 3)
POOL, ASIDE = gaussian(3, 7, 3), classes(4, 7, 3)


def model():
    return mlp(0, [3, 4, 3], nn.Tanh)


FORMS = {
    "a tensor": POOL,
    "a tuple of one input": (POOL,),
    "batches": [POOL[:3], POOL[3:]],
    "batches of one input": [(POOL[:3],), [POOL[3:]]],
    "labelled batches": [(POOL[:3], ASIDE[:3]), [POOL[3:], ASIDE[3:]]],
    "an empty batch among others": [POOL[:3], POOL[:0], POOL[3:]],
    "a data set": TensorDataset(POOL),
    "a labelled data set": TensorDataset(POOL, ASIDE),
    "a loader": DataLoader(TensorDataset(POOL), batch_size=3),
    "a labelled loader": DataLoader(TensorDataset(POOL, ASIDE), batch_size=3),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_labelled_inputs_are_appended_to_every_form_of_pool(form):
    samples, members = pooled(collect((X, Y)), form, None)
    assert torch.equal(samples.args[0], torch.cat([POOL, X]))
    assert torch.equal(samples.labels, Y)
    assert members.tolist() == [7, 8, 9, 10]


def test_a_generator_is_read_once():
    samples, _ = pooled(collect((X, Y)), (part for part in POOL.split(2)), None)
    assert torch.equal(samples.args[0], torch.cat([POOL, X]))


def two(params, a, b):
    return (a * b) @ params["w"]


TWO_INPUTS = {
    "by position": (((X, X + 1), Y), (POOL, POOL - 1)),
    "by position in batches": (((X, X + 1), Y), [((POOL, POOL - 1), ASIDE)]),
    "by name": ({"a": X, "b": X + 1, "labels": Y}, {"a": POOL, "b": POOL - 1}),
    "by name, labelled": (
        {"a": X, "b": X + 1, "labels": Y},
        [{"a": POOL, "b": POOL - 1, "labels": ASIDE}],
    ),
}


@pytest.mark.parametrize(("data", "fisher_data"), TWO_INPUTS.values(), ids=TWO_INPUTS)
def test_several_inputs_come_by_position_and_by_name(data, fisher_data):
    network = two, {"w": gaussian(5, 3, 3)}
    problem = igsref.as_problem(network, data, fisher_data=fisher_data)
    a, b = torch.cat([POOL, X]), torch.cat([POOL - 1, X + 1])
    assert torch.equal(problem.logits, two(network[1], a, b))
    assert problem.members.tolist() == [7, 8, 9, 10]


def test_without_a_pool_the_labelled_samples_are_the_pool():
    problem = igsref.as_problem(model(), (X, Y))
    assert problem.pool_size == problem.num_samples == 4
    assert problem.members.tolist() == [0, 1, 2, 3]
    assert problem.weight == 1.0
    assert not problem.has_pool


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_members_say_where_the_labelled_samples_are(dtype):
    rows = torch.tensor([5, 0, 2], dtype=dtype)
    problem = igsref.as_problem(model(), (POOL[rows.long()], Y[:3]), fisher_data=POOL, members=rows)
    assert (problem.num_samples, problem.pool_size, problem.weight) == (3, 7, 7 / 3)
    assert torch.equal(problem.labelled_logits, problem.logits[rows.long()])
    assert torch.equal(problem.labelled_logits, model()(POOL[rows.long()]).detach())
    assert problem.num_rows == 14
    assert problem.has_pool


def test_labelled_samples_in_another_order_are_a_pool():
    order = torch.tensor([3, 0, 1, 2])
    problem = igsref.as_problem(model(), (X[order], Y[order]), fisher_data=X, members=order)
    assert problem.pool_size == problem.num_samples
    assert problem.has_pool


def test_members_and_appended_inputs_are_the_same_problem():
    appended = igsref.exact_igs(model(), (X, Y), fisher_data=POOL)
    rows = torch.arange(7, 11)
    held = igsref.exact_igs(model(), (X, Y), fisher_data=torch.cat([POOL, X]), members=rows)
    assert held == appended


def test_a_pool_in_single_precision_is_measured_in_float64():
    single = igsref.exact_igs(model().float(), (X.float(), Y), fisher_data=POOL.float())
    double = igsref.exact_igs(
        model().float().double(), (X.float().double(), Y), fisher_data=POOL.float().double()
    )
    assert single == double


def test_a_shuffling_pool_leaves_the_random_states_as_they_were():
    loader = DataLoader(TensorDataset(POOL), batch_size=3, shuffle=True)
    samples, before = collect((X, Y)), states()
    pooled(samples, loader, None)
    assert states() == before


MULTIPLICITIES = {
    "one input": (([1.0, 2.0, 1.0, 1.0, 2.0, 3.0],), [0, 4, 5], [3, 2, 1]),
    "all inputs must agree": (([1.0, 1.0, 1.0], [0, 0, 1]), [0, 2], [2, 1]),
    "bits count, not numbers": (([0.0, -0.0, 0.0],), [0, 1], [2, 1]),
    "booleans": (([True, False, True],), [0, 1], [2, 1]),
    "whole numbers that no float tells apart": (
        ([0.0, 0.0, 0.0], [2**53, 2**53 + 1, 2**53]),
        [0, 1],
        [2, 1],
    ),
}


@pytest.mark.parametrize(("inputs", "members", "expected"), MULTIPLICITIES.values())
def test_multiplicity_counts_equal_inputs_of_the_pool(inputs, members, expected):
    args = tuple(torch.tensor(values) for values in inputs)
    samples = igsref.data.Samples(args, {}, torch.zeros(len(members)))
    assert multiplicity(samples, torch.tensor(members)).tolist() == expected


def test_multiplicity_looks_at_every_entry_of_an_image():
    images = torch.zeros(3, 2, 5, 5)
    images[2, 1, 4, 4] = 1.0
    samples = igsref.data.Samples((images,), {}, torch.zeros(3))
    assert multiplicity(samples, torch.arange(3)).tolist() == [2, 2, 1]


def test_inputs_without_entries_are_all_equal():
    samples = igsref.data.Samples((torch.zeros(3, 0),), {}, torch.zeros(3))
    assert multiplicity(samples, torch.arange(3)).tolist() == [3, 3, 3]


def test_duplicates_outside_the_labelled_samples_count():
    problem = igsref.as_problem(model(), (X, Y), fisher_data=torch.cat([POOL, X[1:2], X[1:2]]))
    assert problem.multiplicity().tolist() == [1, 3, 1, 1]


def rows(*values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype)


NAN = float("nan")
HELD = torch.cat([POOL, X])

MISTAKES = {
    "a number": ({"fisher_data": 3}, TypeError, r"fisher_data must be inputs: a t.*; got int$"),
    "a list of numbers": (
        {"fisher_data": [1.0, 2.0]},
        TypeError,
        "x in fisher_data must be a tensor; got float",
    ),
    "an array": (
        {"fisher_data": POOL.numpy()},
        TypeError,
        "x in fisher_data must be a tensor; got ndarray",
    ),
    "another name": (
        {"fisher_data": {"tokens": POOL}},
        ValueError,
        r"must hold the inputs of data, \['x'\], in .*; batch 0 has \['tokens'\]",
    ),
    "a pair": (
        {"fisher_data": (POOL, ASIDE)},
        ValueError,
        r"must hold the inputs of data, \['x'\], in .*; batch 0 has \['x\[0\]', 'x\[1\]'\]",
    ),
    "labels alone": (
        {"fisher_data": [{"labels": ASIDE}]},
        ValueError,
        r"must hold the inputs of data, \['x'\], in .*; batch 0 has \[\]",
    ),
    "another shape": (
        {"fisher_data": [POOL, POOL[:, :2]]},
        ValueError,
        r"x in fisher_data must be like that in data, \(·, 3\) torch\.float64 on cpu; "
        r"batch 1 has \(7, 2\) torch\.float64",
    ),
    "no samples in front": (
        {"fisher_data": torch.tensor(1.0)},
        ValueError,
        r"x in fisher_data must be like that in data.*batch 0 has \(\)",
    ),
    "another dtype": (
        {"fisher_data": POOL.float()},
        ValueError,
        r"torch\.float64 on cpu; batch 0 has \(7, 3\) torch\.float32",
    ),
    "another device": (
        {"fisher_data": POOL.to("meta")},
        ValueError,
        r"on cpu; batch 0 has \(7, 3\) torch\.float64 on meta",
    ),
    "nothing": ({"fisher_data": []}, ValueError, "fisher_data must hold at least one input; got n"),
    "no inputs": ({"fisher_data": POOL[:0]}, ValueError, "must hold at least one input; got none"),
    "members without a pool": (
        {"members": rows(0, 1, 2, 3)},
        ValueError,
        "members are rows of fisher_data, and there is none",
    ),
    "members in a list": (
        {"fisher_data": HELD, "members": [7, 8, 9, 10]},
        TypeError,
        "members must be a tensor of integers; got list",
    ),
    "members that are no integers": (
        {"fisher_data": HELD, "members": rows(7.0, 8.0, 9.0, 10.0, dtype=torch.float64)},
        TypeError,
        r"members must be a tensor of integers; got torch\.float64",
    ),
    "members by mask": (
        {"fisher_data": X, "members": Y >= 0},
        TypeError,
        r"members must be a tensor of integers; got torch\.bool",
    ),
    "too few members": (
        {"fisher_data": HELD, "members": rows(7, 8, 9)},
        ValueError,
        r"members must have shape \(4,\), one row .* labelled sample; got \(3,\)",
    ),
    "members in a column": (
        {"fisher_data": HELD, "members": rows(7, 8, 9, 10)[:, None]},
        ValueError,
        r"members must have shape \(4,\).*got \(4, 1\)",
    ),
    "a member beyond the pool": (
        {"fisher_data": HELD, "members": rows(7, 8, 11, 10)},
        ValueError,
        r"members must lie in 0\.\.10, the rows of fisher_data; members\[2\] is 11",
    ),
    "a negative member": (
        {"fisher_data": HELD, "members": rows(7, -3, 9, 10)},
        ValueError,
        r"members must lie in 0\.\.10.*members\[1\] is -3",
    ),
    "a member that comes twice": (
        {"fisher_data": HELD, "members": rows(7, 8, 8, 10)},
        ValueError,
        "members must name each row once; 8 comes more than once",
    ),
    "members that are other inputs": (
        {"fisher_data": HELD, "members": rows(7, 8, 10, 9)},
        ValueError,
        r"fisher_data\[members\] must be the labelled inputs; x\[2\] differs from row 10 of f",
    ),
}


@pytest.mark.parametrize(("options", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_by_name(options, error, message):
    given = {"fisher_data": None, "members": None, **options}
    with pytest.raises(error, match=message):
        pooled(collect((X, Y)), **given)


def test_a_second_input_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"batch 1 x\[1\] has 3, the first input 4"):
        pooled(collect(((X, X), Y)), [((X, X), Y), ((X, X[:3]), Y)], None)


def test_a_second_input_that_differs_is_named():
    pool = {"a": HELD, "b": torch.cat([POOL, X + 1])}
    with pytest.raises(ValueError, match=r"b\[0\] differs from row 7 of fisher_data"):
        pooled(collect({"a": X, "b": X, "labels": Y}), pool, rows(7, 8, 9, 10))


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_an_input_of_the_pool_that_is_not_finite_is_named(value):
    pool = POOL.clone()
    pool[5, 2] = value
    with pytest.raises(ValueError, match=rf"x\[5, 2\] of fisher_data is {value}"):
        igsref.exact_igs(model(), (X, Y), fisher_data=pool)


@pytest.mark.parametrize("members", [None, rows(7, 8, 9, 10)])
def test_a_labelled_input_that_is_not_finite_is_named_by_its_own_number(members):
    x = X.clone()
    x[1, 2] = NAN
    pool = POOL if members is None else torch.cat([POOL, x])
    with pytest.raises(ValueError, match=r"inputs must be finite; x\[1, 2\] is nan"):
        igsref.exact_igs(model(), (x, Y), fisher_data=pool, members=members)


def test_logits_of_the_pool_that_are_not_finite_are_named():
    def network(params, x):
        return x * params["w"] / (x[:, :1] != POOL[6, 0])

    with pytest.raises(ValueError, match=r"logits must be finite; logits\[6, 0\] is -?inf"):
        igsref.exact_igs((network, {"w": torch.ones(3).double()}), (X, Y), fisher_data=POOL)

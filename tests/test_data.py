"""Every form of data gives the same samples."""

from collections import UserDict

import jaxtyping
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from igsref.data import collect, is_one_shot
from tests.random_states import states

X = torch.arange(30.0).view(10, 3)
MASK = torch.arange(20).view(10, 2)
Y = torch.arange(10) % 3


def batches(size=4):
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, 10, size)]


class Stream(IterableDataset):
    """One sample after the other."""

    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Numbered(Dataset):
    """Labels that are Python integers."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return X[i], int(Y[i])


class Records(Dataset):
    """Samples as mappings."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return {"values": X[i], "mask": MASK[i], "labels": Y[i]}


POSITIONAL = {
    "a tuple": lambda: (X, Y),
    "a list of batches": batches,
    "a list of list pairs": lambda: [list(batch) for batch in batches()],
    "a tuple of batches": lambda: tuple(batches(5)),
    "a dataset": lambda: TensorDataset(X, Y),
    "a dataset with integer labels": Numbered,
    "an iterable dataset": Stream,
    "a loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=3),
    "a generator": lambda: (batch for batch in batches()),
    "batches with an empty one": lambda: [(X[:0], Y[:0]), *batches()],
}
KEYWORD = {
    "a mapping": lambda: {"values": X, "mask": MASK, "labels": Y},
    "a UserDict": lambda: UserDict(values=X, mask=MASK, labels=Y),
    "a list of mappings": lambda: [
        {"values": X[i : i + 5], "mask": MASK[i : i + 5], "labels": Y[i : i + 5]} for i in (0, 5)
    ],
    "a loader of mappings": lambda: DataLoader(Records(), batch_size=4),
    "a pair of a mapping and labels": lambda: ({"values": X, "mask": MASK}, Y),
    "batches of a mapping and labels": lambda: [
        ({"values": x, "mask": m}, y)
        for x, m, y in zip(X.split(4), MASK.split(4), Y.split(4), strict=True)
    ],
}


@pytest.mark.parametrize("make", POSITIONAL.values(), ids=POSITIONAL)
def test_positional_data_of_any_form_is_x_and_y(make):
    samples = collect(make())
    assert (len(samples), samples.kwargs, len(samples.args)) == (10, {}, 1)
    assert torch.equal(samples.args[0], X)
    assert torch.equal(samples.labels, Y)


@pytest.mark.parametrize("make", KEYWORD.values(), ids=KEYWORD)
def test_mappings_of_any_form_become_keyword_inputs(make):
    samples = collect(make())
    assert (len(samples), samples.args, list(samples.kwargs)) == (10, (), ["values", "mask"])
    assert torch.equal(samples.kwargs["values"], X)
    assert torch.equal(samples.kwargs["mask"], MASK)
    assert torch.equal(samples.labels, Y)


@pytest.mark.parametrize("pack", [tuple, list])
def test_a_tuple_of_inputs_becomes_several_positional_inputs(pack):
    samples = collect((pack([X, MASK]), Y))
    assert [torch.equal(a, b) for a, b in zip(samples.args, (X, MASK), strict=True)] == [True] * 2
    assert list(samples.named_inputs()) == ["x[0]", "x[1]"]


def test_inputs_of_chosen_samples_keep_the_batch_dimension():
    args, kwargs = collect((X, Y)).inputs(torch.tensor([3]))
    assert torch.equal(args[0], X[3:4])
    args, kwargs = collect({"values": X, "labels": Y}).inputs(slice(2, 4))
    assert args == ()
    assert torch.equal(kwargs["values"], X[2:4])


def test_a_shuffling_loader_keeps_inputs_and_labels_together_and_the_random_state(
    monkeypatch,
):
    # beartype, which checks annotations under pytest, draws from Python's own generator.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    before = states()
    with pytest.warns(RuntimeWarning, match="data is a DataLoader that shuffles"):
        samples = collect(DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True))
    order = (samples.args[0][:, 0] / 3).long()
    assert torch.equal(order.sort().values, torch.arange(10))
    assert torch.equal(samples.labels, Y[order])
    assert states() == before


def test_only_iterators_are_read_once():
    assert is_one_shot(batch for batch in batches())
    assert is_one_shot(iter(batches()))
    assert not any(map(is_one_shot, (batches(), (X, Y), DataLoader(TensorDataset(X, Y)))))


def test_numpy_labels_of_a_pair_are_named():
    with pytest.raises(TypeError, match=r"data\[1\], the labels .* got ndarray: torch.as_tensor"):
        collect((torch.ones(3, 2), np.array([0, 1, 2])))

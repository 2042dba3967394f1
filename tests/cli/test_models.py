"""Models from modules and functions, weights from files; whatever does not fit is named."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from igsref.cli.failures import BadInput
from igsref.cli.models import load_model, load_tensors


def other_weights(folder):
    nets = __import__("nets")
    state = {name: value + 1 for name, value in nets.small().state_dict().items()}
    torch.save(state, folder / "w.pt")
    save_file(state, folder / "w.safetensors")
    return state


@pytest.mark.parametrize("name", ["nets:small", "nets:net", "nets:Named"])
def test_a_model_comes_in_evaluation_mode(folder, name):
    model = load_model(name, None)
    assert isinstance(model, nn.Module)
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
def test_weights_are_those_of_the_file(folder, file):
    state = other_weights(folder)
    model = load_model("nets:small", folder / file)
    assert all(model.state_dict()[name].equal(value) for name, value in state.items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nets:number", r"must be a torch\.nn\.Module or a function that returns one; got int 3"),
        ("nets:seven", r"nets:seven\(\) must return a torch\.nn\.Module; got int 7"),
        ("nets:broken", r"nets:broken\(\) raised RuntimeError: no such thing"),
        ("nets:gone", r"nets:gone\(\) raised SystemExit"),
    ],
)
def test_what_is_no_model_is_named(folder, name, message):
    with pytest.raises(BadInput, match=message):
        load_model(name, None)


def test_weights_that_do_not_fit_say_where(folder):
    state = other_weights(folder)
    del state["0.bias"]
    state |= {"0.weight": torch.zeros(2, 2), **{f"new.{k}": torch.zeros(1) for k in range(5)}}
    save_file(state, folder / "other.safetensors")
    message = (
        r"do not fit Sequential: they lack 0\.bias; they have besides new\.0, new\.1, new\.2 and 2 "
        r"more; they have another shape of 0\.weight \(2, 2\), not \(6, 4\)$"
    )
    before = load_model("nets:net", None).state_dict()["3.bias"].clone()
    with pytest.raises(BadInput, match=message):
        load_model("nets:net", folder / "other.safetensors")
    assert load_model("nets:net", None).state_dict()["3.bias"].equal(before)


def test_a_file_that_is_absent_damaged_or_of_another_kind_is_named(folder):
    other_weights(folder)
    for name in ("w.pt", "w.safetensors"):
        content = (folder / name).read_bytes()
        (folder / f"short_{name}").write_bytes(content[: len(content) // 2])
    torch.save([1, 2], folder / "list.pt")
    torch.save(nn.Linear(1, 1), folder / "module.pt")
    expected = {
        "absent.pt": "there is no file .*absent.pt",
        "short_w.safetensors": "is no whole file of tensors",
        "short_w.pt": r"must be \.safetensors, or a state_dict that torch\.save wrote",
        "list.pt": "must hold a state_dict, tensors by name; got a list",
        "module.pt": "weights_only=True can read",  # nothing in it is run
        "nets.py": r"must be \.safetensors, or a state_dict",
    }
    for name, message in expected.items():
        with pytest.raises(BadInput, match=message):
            load_tensors(folder / name)


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_keep_their_digits_whatever_the_factory_makes(folder, stored):
    nets = __import__("nets")
    weights = {
        name: (value.double() / 3).to(stored) for name, value in nets.small().state_dict().items()
    }
    torch.save(weights, folder / "w.pt")
    loaded = load_model("nets:small", folder / "w.pt").state_dict()
    assert all(torch.equal(loaded[name].double(), weights[name].double()) for name in weights)

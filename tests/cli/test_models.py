"""Models from modules and functions, weights from files; whatever does not fit is named."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from igsref.cli.failures import BadInput
from igsref.cli.models import load_model, load_weights

STATE_DICT = (
    r"must be \.safetensors, or a state_dict as torch\.save\(model\.state_dict\(\), …\) writes it"
)


def silent(sentence):
    raise AssertionError(f"nothing should be said; it says {sentence}")


def other_weights(folder):
    nets = __import__("nets")
    state = {name: value + 1 for name, value in nets.small().state_dict().items()}
    torch.save(state, folder / "w.pt")
    save_file(state, folder / "w.safetensors")
    return state


@pytest.mark.parametrize("name", ["nets:small", "nets:net", "nets:Named"])
def test_a_model_comes_in_evaluation_mode(folder, name):
    model = load_model(name, None, [].append)
    assert isinstance(model, nn.Module)
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize("file", ["w.pt", "w.safetensors"])
def test_weights_are_those_of_the_file(folder, file):
    state = other_weights(folder)
    model = load_model("nets:small", folder / file, silent)
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
        load_model(name, None, silent)


def test_weights_that_do_not_fit_say_where(folder):
    state = other_weights(folder)
    del state["0.bias"]
    state |= {"0.weight": torch.zeros(2, 2), **{f"new.{k}": torch.zeros(1) for k in range(5)}}
    save_file(state, folder / "other.safetensors")
    message = (
        r"do not fit Sequential: they lack 0\.bias; they have besides new\.0, new\.1, new\.2 and 2 "
        r"more; they have another shape of 0\.weight \(2, 2\), not \(6, 4\)$"
    )
    before = load_model("nets:net", None, silent).state_dict()["3.bias"].clone()
    with pytest.raises(BadInput, match=message):
        load_model("nets:net", folder / "other.safetensors", silent)
    assert load_model("nets:net", None, silent).state_dict()["3.bias"].equal(before)


def test_a_file_that_is_absent_damaged_or_of_another_kind_is_named(folder):
    other_weights(folder)
    for name in ("w.pt", "w.safetensors"):
        content = (folder / name).read_bytes()
        (folder / f"short_{name}").write_bytes(content[: len(content) // 2])
    torch.save([1, 2], folder / "list.pt")
    torch.save({"epoch": 3, "loss": 0.5}, folder / "numbers.pt")
    torch.save(nn.Linear(1, 1), folder / "module.pt")
    (folder / "empty.pt").write_text("")
    expected = {
        "absent.pt": r"^there is no file .*absent\.pt$",
        "short_w.safetensors": r"must be a whole \.safetensors file",
        "short_w.pt": f"{STATE_DICT}; it is damaged, or of another kind$",
        "empty.pt": f"{STATE_DICT}; it is damaged, or of another kind$",
        "nets.py": f"{STATE_DICT}; it is damaged, or of another kind$",
        "list.pt": "must hold a state_dict, .*; got a list of int$",
        "numbers.pt": "must hold a state_dict, .*; got .* with 'epoch', 'loss'$",
        # Nothing in it is run.
        "module.pt": rf"{STATE_DICT}; it holds objects of torch\.nn\.modules\.linear\.Linear",
    }
    for name, message in expected.items():
        with pytest.raises(BadInput, match=message):
            load_weights(folder / name, silent)


def test_weights_that_nobody_gave_are_said(folder):
    nets = __import__("nets")
    nets.bare = nn.ReLU
    said = []
    load_model("nets:small", None, said.append)
    load_model("nets:Named", None, said.append)
    assert [sentence.partition(": they are as ")[2].split()[0] for sentence in said] == [
        "nets:small()",
        "nets:Named()",
    ]
    load_model("nets:net", None, silent)
    load_model("nets:bare", None, silent)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module.net."])
def test_a_word_before_all_names_is_left_off_and_said(folder, wrapper):
    state = other_weights(folder)
    save_file(
        {f"{wrapper}{name}": value for name, value in state.items()}, folder / "p.safetensors"
    )
    said = []
    loaded = load_model("nets:small", folder / "p.safetensors", said.append).state_dict()
    assert all(loaded[name].equal(value) for name, value in state.items())
    assert len(said) == 1
    assert said[0].endswith(f"p.safetensors begin with '{wrapper}', which is left off")


@pytest.mark.parametrize("wrappers", [("module.", "module."), ("", "module."), ("a.", "b.")])
def test_names_that_do_not_fit_without_it_are_shown_as_they_are(folder, wrappers):
    first, rest = wrappers
    state = other_weights(folder)
    named = zip(
        [first, rest, rest, rest], ["4.weight", "4.bias", "5.weight", "5.bias"], strict=True
    )
    stored = [f"{wrapper}{name}" for wrapper, name in named]
    save_file(dict(zip(stored, state.values(), strict=True)), folder / "p.safetensors")
    with pytest.raises(BadInput, match="they have besides") as refused:
        load_model("nets:small", folder / "p.safetensors", silent)
    assert any(name in str(refused.value) for name in sorted(stored)[:3])


def test_the_only_state_dict_of_a_checkpoint_is_taken_and_said(folder):
    state = other_weights(folder)
    optimizer = torch.optim.Adam(__import__("nets").net.parameters()).state_dict()
    torch.save({"epoch": 3, "net": state, "optimizer": optimizer, "none": {}}, folder / "c.pt")
    said = []
    found = load_weights(folder / "c.pt", said.append)
    assert all(found[name].equal(value) for name, value in state.items())
    assert len(said) == 1
    assert said[0].endswith("c.pt is a checkpoint, whose entry 'net' is taken as the weights")


def test_one_of_several_state_dicts_is_not_guessed(folder):
    state = other_weights(folder)
    torch.save({"model": state, "ema": state}, folder / "c.pt")
    with pytest.raises(
        BadInput, match=r"its entries 'model', 'ema' are some\. Store .*\['model'\]"
    ):
        load_weights(folder / "c.pt", silent)


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_keep_their_digits_whatever_the_factory_makes(folder, stored):
    nets = __import__("nets")
    weights = {
        name: (value.double() / 3).to(stored) for name, value in nets.small().state_dict().items()
    }
    torch.save(weights, folder / "w.pt")
    loaded = load_model("nets:small", folder / "w.pt", silent).state_dict()
    assert all(torch.equal(loaded[name].double(), weights[name].double()) for name in weights)

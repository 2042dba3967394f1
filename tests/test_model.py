"""A model as a function of θ: what θ holds, and what stays as it was."""

import pytest
import torch
from torch import nn

import igsref
from igsref.model import logit_function, placed_model
from tests.strategies import architecture, classes, fill_, gaussian, mlp


class Tied(nn.Module):
    """A decoder whose weight is the encoder's."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


class Packed(nn.Module):
    """Logits inside a larger output."""

    def __init__(self, pack):
        super().__init__()
        self.layer, self.pack = mlp(0, [3, 3], nn.Tanh)[0], pack

    def forward(self, x):
        return self.pack(self.layer(x))


class Output:
    """Has the logits as an attribute, and no other way to them."""

    def __init__(self, values, name="logits"):
        setattr(self, name, values)


def names(model, **options):
    return list(logit_function(model, **options).parameters)


def evaluate(model, x, **options):
    function = logit_function(model, **options)
    return function.call(function.parameters, (x,), {})


def test_theta_is_every_parameter_in_the_module_s_order():
    model = mlp(0, [3, 4, 2], nn.Tanh)
    function = logit_function(model)
    assert list(function.parameters) == [name for name, _ in model.named_parameters()]
    assert function.parameter_count == function.full_parameter_count == 26


def test_tied_parameters_count_once():
    function = logit_function(Tied())
    assert list(function.parameters) == ["encoder.weight", "decoder.bias"]
    assert function.parameter_count == 12


def test_a_tied_parameter_is_found_by_either_name():
    for pattern in ("encoder.weight", "decoder.weight", "decoder.w*"):
        assert names(Tied(), parameters=pattern) == ["encoder.weight"]


def test_a_change_of_a_tied_parameter_reaches_both_its_uses():
    model, x = fill_(Tied().double(), 1), gaussian(2, 4, 3)
    function = logit_function(model)
    theta = {**function.parameters, "encoder.weight": 2 * model.encoder.weight.detach()}
    moved = function.call(theta, (x,), {})
    with torch.no_grad():
        model.encoder.weight *= 2
    assert torch.equal(moved, model(x).detach())


def test_frozen_parameters_are_left_out_and_constant():
    model, x = mlp(0, [3, 4, 2], nn.Tanh), gaussian(1, 5, 3)
    model[0].weight.requires_grad_(False)
    function = logit_function(model)
    assert list(function.parameters) == ["0.bias", "2.weight", "2.bias"]
    assert function.full_parameter_count == 14
    assert torch.equal(evaluate(model, x), model(x).detach())


def test_a_frozen_parameter_is_not_chosen_by_a_pattern():
    model = mlp(0, [3, 4, 2], nn.Tanh)
    model[0].weight.requires_grad_(False)
    assert names(model, parameters="*.weight") == ["2.weight"]


def test_patterns_choose_a_subset_in_the_module_s_order():
    model = mlp(0, [3, 4, 2], nn.Tanh)
    assert names(model, parameters="*.bias") == ["0.bias", "2.bias"]
    assert names(model, parameters=["2.*", "0.bias"]) == ["0.bias", "2.weight", "2.bias"]
    function = logit_function(model, parameters="0.*")
    assert (function.parameter_count, function.full_parameter_count) == (16, 26)


def test_a_restricted_function_is_that_of_the_pattern_in_every_dtype():
    model, x = mlp(0, [3, 4, 2], nn.Tanh), gaussian(1, 5, 3)
    restricted = logit_function(model).restricted(["2.bias", "0.weight"])
    chosen = logit_function(model, parameters=["0.weight", "2.bias"])
    assert list(restricted.parameters) == list(chosen.parameters) == ["0.weight", "2.bias"]
    assert set(restricted.constants) == set(chosen.constants)
    assert restricted.full_parameter_count == chosen.full_parameter_count
    assert torch.equal(
        restricted.call(restricted.parameters, (x,), {}), chosen.call(chosen.parameters, (x,), {})
    )
    single = restricted.source(torch.float32)
    assert list(single.parameters) == ["0.weight", "2.bias"]
    assert single.parameters["0.weight"].dtype == torch.float32
    with pytest.raises(ValueError, match="names must hold some of"):
        restricted.restricted(["0.bias"])


def test_buffers_are_constants():
    model, x, _ = architecture("batch norm", 1, 3)
    function = logit_function(model)
    assert not {"1.running_mean", "1.running_var"} & set(function.parameters)
    assert torch.equal(function.call(function.parameters, (x,), {}), model(x).detach())


def test_the_function_is_a_copy_that_later_changes_do_not_reach():
    model, x = mlp(0, [3, 4, 2], nn.Tanh), gaussian(1, 5, 3)
    function, before = logit_function(model), model(x).detach()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(function.call(function.parameters, (x,), {}), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_taken_up_to_float64_exactly(dtype):
    model, x = mlp(0, [3, 4, 2], nn.Tanh).to(dtype), gaussian(1, 5, 3)
    function = logit_function(model)
    for name, value in model.named_parameters():
        assert torch.equal(function.parameters[name], value.detach().double())
    logits = function.call(function.parameters, (x,), {})
    assert torch.equal(logits, model.double()(x).detach())


def test_the_source_makes_the_same_function_in_another_dtype():
    model, x = mlp(0, [3, 4, 2], nn.Tanh), gaussian(1, 5, 3)
    single = logit_function(model).source(torch.float32)
    assert {value.dtype for value in single.parameters.values()} == {torch.float32}
    logits = single.call(single.parameters, (x.float(),), {})
    assert torch.equal(logits, model.float()(x.float()).detach())


def test_the_module_is_the_copy_that_is_called_in_the_function_s_dtype():
    model, x = mlp(0, [3, 4, 2], nn.Tanh), gaussian(1, 5, 3)
    function = logit_function(model)
    for each in (function, function.source(torch.float32)):
        assert each.module is not model
        dtype = next(iter(each.parameters.values())).dtype
        assert {value.dtype for value in each.module.parameters()} == {dtype}
        seen = []
        hook = each.module[2].register_forward_hook(lambda *call, seen=seen: seen.append(call[2]))
        logits = each.call(each.parameters, (x.to(dtype),), {})
        hook.remove()
        assert len(seen) == 1
        assert torch.equal(seen[0], logits)


def test_a_pair_has_no_module():
    assert (
        logit_function((lambda params, x: x @ params["w"], {"w": torch.ones(3, 2)})).module is None
    )


def test_a_pair_of_function_and_params_is_the_module_that_it_copies():
    model, x = mlp(0, [3, 4, 2], nn.Tanh), gaussian(1, 5, 3)

    def function(params, x):
        return torch.func.functional_call(model, params, x)

    pair = function, dict(model.named_parameters())
    assert names(pair) == names(model)
    assert torch.equal(evaluate(pair, x), evaluate(model, x).detach())
    assert names(pair, parameters="0.*") == ["0.weight", "0.bias"]


PICKERS = {
    "a tensor": (lambda f: f, None),
    "an attribute called logits": (Output, None),
    "an attribute of another name": (lambda f: Output(f, "scores"), "scores"),
    "a key": (lambda f: {"loss": None, "scores": f}, "scores"),
    "an index": (lambda f: (None, f), 1),
    "an index from behind": (lambda f: [None, f], -1),
    "a function": (lambda f: [[f]], lambda output: output[0][0]),
    "a function of a tensor": (lambda f: torch.stack([f, 0 * f], dim=1), lambda f: f[:, 0]),
}


@pytest.mark.parametrize(("pack", "picker"), PICKERS.values(), ids=PICKERS)
def test_logits_are_picked_out_of_an_output(pack, picker):
    x = gaussian(1, 4, 3)
    expected = evaluate(Packed(lambda f: f), x)
    assert torch.equal(evaluate(Packed(pack), x, logits=picker), expected)


def test_what_holds_no_logits_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"must return logits as a tensor; got dict\. Say where"):
        evaluate(Packed(lambda f: {"scores": f}), gaussian(1, 4, 3))


def test_a_device_without_float64_is_left_for_the_cpu_with_one_warning(monkeypatch):
    monkeypatch.setattr("igsref.model._has_float64", lambda device: False)
    model, x = mlp(0, [3, 4, 2], nn.Tanh).float(), gaussian(1, 5, 3)
    with pytest.warns(RuntimeWarning, match="MPS has no float64: computing on the CPU") as caught:
        result = igsref.exact_igs(model, (x.float(), classes(2, 5, 2)))
    assert len(caught) == 1
    monkeypatch.undo()
    assert result == igsref.exact_igs(model, (x.float(), classes(2, 5, 2)))


def test_a_device_with_float64_is_where_things_stay():
    assert logit_function(mlp(0, [3, 2], nn.Tanh)).device == torch.device("cpu")


def test_a_placed_model_is_a_copy_and_what_is_no_model_stays():
    module, place = nn.Linear(2, 2), torch.device("meta")
    placed = placed_model(module, place)
    assert placed.weight.device.type == "meta"
    assert module.weight.device.type == "cpu"
    function, theta = placed_model((len, {"w": module.weight, "name": "x"}), place)
    assert function is len
    assert theta["w"].device.type == "meta"
    assert theta["name"] == "x"
    assert placed_model("no model", place) == "no model"

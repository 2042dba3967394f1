"""What is of the wrong type for a transformation: its name, what was expected, what came."""

import jaxtyping
import pytest
import torch
from torch import nn

from igsref.transforms import (
    AffineCoupling,
    Composition,
    Cubic,
    DenseLinear,
    Diagonal,
    ElementwisePower,
    Orthogonal,
    RadialPower,
    Sinh,
    absorb_batch_norm,
    add_dead_unit,
    add_silent_unit,
    attention_heads,
    change_query_key_basis,
    draw_add_dead_unit,
    draw_bases,
    draw_node_scaling,
    draw_normalize_weights,
    draw_split_unit,
    flip_signs,
    invert,
    nearest_powers_of_two,
    normalize_weights,
    permute_nodes,
    scale_layers,
    scale_nodes,
    shift_softmax,
    split_unit,
)
from igsref.transforms.reparametrize import reparametrize
from tests.strategies import mlp
from tests.transforms.networks import generator


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch):
    """Without the annotations that pytest executes: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


M = mlp(0, [2, 4, 3, 2], nn.ReLU)
HEADS = nn.MultiheadAttention(6, 2)
ONES = [torch.ones(4), torch.ones(3)]
SEEDED = r"generator must be a torch\.Generator, such as .*; got int 0"
BIJECTION = r"bijection must be a Bijection, such as .*Sinh\(\); got "

SYMMETRIES = {
    "numbers": (
        lambda: scale_nodes(M, [2.0, 3.0]),
        r"factors\[0\] must be a torch\.Tensor, one number per channel; got float 2\.0",
    ),
    "lists": (
        lambda: scale_nodes(M, [[2.0] * 4, [2.0] * 3]),
        r"factors\[0\] must be a torch\.Tensor.*; got a list of float",
    ),
    "one tensor": (
        lambda: scale_nodes(M, torch.tensor(2.0)),
        r"factors must be a list of tensors.*widths \[4, 3\]; got a tensor of shape \(\)",
    ),
    "one number": (lambda: scale_nodes(M, 2.0), "factors must be a list .*; got float 2.0"),
    "numbers for powers": (
        lambda: nearest_powers_of_two([2.0]),
        r"factors\[0\] must be a torch\.Tensor; got float 2\.0",
    ),
    "one factor of layers": (
        lambda: scale_layers(M, 2.0),
        "factors must be a list of 2 numbers, one per group of channels; got float 2.0",
    ),
    "words": (lambda: scale_layers(M, ["a", "b"]), r"factors\[0\] must be a number; got str 'a'"),
    "orders as lists": (
        lambda: permute_nodes(M, [[3, 2, 1, 0], [0, 1, 2]]),
        r"orders\[0\] must be a torch\.Tensor.*; got a list of int",
    ),
    "orders as floats": (
        lambda: permute_nodes(M, [torch.arange(4.0), torch.arange(3.0)]),
        r"orders\[0\] must be a tensor of integers; got .*torch\.float32",
    ),
    "signs as numbers": (lambda: flip_signs(mlp(0, [2, 3, 2], nn.Tanh), [1]), r"signs\[0\] must"),
    "a list of shifts": (
        lambda: shift_softmax(M, [1.0] * 3),
        r"direction must be a torch\.Tensor; got a list of float",
    ),
    "no offset": (lambda: shift_softmax(M, torch.ones(3), "a"), "offset must be a number; got st"),
    "one basis": (lambda: change_query_key_basis(HEADS, 2.0), r"bases must be a list of tensors.*"),
    "bases as numbers": (lambda: change_query_key_basis(HEADS, [2.0]), r"bases\[0\] must be a to"),
    "no model": (lambda: attention_heads("a"), r"model must be a torch\.nn\.Module; got str 'a'"),
    "a seed": (lambda: draw_node_scaling(M, 0, 1.0), SEEDED),
    "a seed for bases": (lambda: draw_bases(HEADS, 0, 1.0), SEEDED),
    "a word": (lambda: draw_node_scaling(M, generator(0), "a"), "strength must be a number; got s"),
}

SURGERY = {
    "a seed": (lambda: add_dead_unit(M, "0", 0), SEEDED),
    "none": (lambda: add_silent_unit(M, "0", None), r"generator must be .*; got None"),
    "a seed for any layer": (lambda: draw_add_dead_unit(M, 0), SEEDED),
    "a seed for any unit": (lambda: draw_split_unit(M, 0), SEEDED),
    "a seed for any weights": (lambda: draw_normalize_weights(M, 0), SEEDED),
    "a word": (lambda: split_unit(M, "0", unit="a"), "unit must be an integer; got str 'a'"),
    "a float": (lambda: split_unit(M, "0", unit=1.0), "unit must be an integer; got float 1.0"),
    "no fraction": (lambda: split_unit(M, "0", 1, "a"), "fraction must be a number; got str 'a'"),
    "a layer's number": (lambda: split_unit(M, 0, 1), "layer must be the name of a layer; got int"),
    "layers' numbers": (lambda: normalize_weights(M, [0]), "layers must be names of layers; got i"),
    "one number": (lambda: normalize_weights(M, 0), "layers must be a list of names.*; got int 0"),
    "no model to normalise": (lambda: normalize_weights("a"), r"model must be a torch\.nn\.Module"),
    "no model to absorb": (lambda: absorb_batch_norm("a"), r"model must be a torch\.nn\.Module"),
}

BIJECTIONS = {
    "a list": (lambda: Diagonal([1.0, 2.0]), r"scale must be a torch\.Tensor; got a list of float"),
    "a number": (lambda: Diagonal(2.0), r"scale must be a torch\.Tensor; got float 2\.0"),
    "rows": (lambda: DenseLinear([[1.0]]), r"matrix must be a torch\.Tensor; got a list of list"),
    "orthogonal rows": (lambda: Orthogonal([[1.0]]), r"matrix must be a torch\.Tensor"),
    "a center": (
        lambda: ElementwisePower(1.0, 1.0, center=0.0),
        r"center must be a torch\.Tensor; got float 0\.0",
    ),
    "an exponent": (lambda: RadialPower("a", 1.0, torch.ones(2)), "exponent must be a number; got"),
    "a softening": (lambda: RadialPower(1.0, None, torch.ones(2)), "softening must be a number"),
    "a slope": (lambda: Cubic("a"), "slope must be a number; got str 'a'"),
    "a size": (lambda: AffineCoupling(2.5, 0), "size must be an integer; got float 2.5"),
    "a coupling's seed": (lambda: AffineCoupling(4, "a"), "seed must be an integer; got str 'a'"),
    "a coupling's strength": (lambda: AffineCoupling(4, 0, "a"), "strength must be a number"),
    "no vector": (lambda: Sinh().check([1.0]), r"theta must be a torch\.Tensor; got a list of fl"),
    "a name": (
        lambda: reparametrize(M, "sinh"),
        BIJECTION + "str 'sinh', which lacks name, forward, inverse, jacobian, log_abs_det, check",
    ),
    "a function": (lambda: reparametrize(M, torch.sinh), BIJECTION + "an object of type .*lacks n"),
    "a class": (lambda: reparametrize(M, Sinh), BIJECTION + "the class Sinh: call it to make one"),
    "a layer": (lambda: reparametrize(M, nn.Tanh()), BIJECTION + ".*Tanh, which lacks name, inv"),
    "a class to invert": (lambda: invert(Sinh), BIJECTION + "the class Sinh"),
    "a part that is no list": (
        lambda: Composition(Sinh()),
        "parts must be a list of bijections; got an object of type Sinh",
    ),
    "a class as part": (
        lambda: Composition((Cubic(1.0), Sinh)),
        r"parts\[1\] must be a Bijection.*the class Sinh",
    ),
}


def cases(table):
    return [pytest.param(*case, id=name) for name, case in table.items()]


@pytest.mark.parametrize(
    ("call", "message"), [*cases(SYMMETRIES), *cases(SURGERY), *cases(BIJECTIONS)]
)
def test_what_is_of_the_wrong_type_is_refused_by_the_name_of_the_argument(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            [torch.tensor(2.0), torch.tensor(3.0)],
            r"factors\[0\] must be a real vector; .*shape \(\)",
        ),
        ([ONES[0], torch.ones(3, dtype=torch.cfloat)], r"factors\[1\] must be a real vector"),
        ([torch.ones(4) > 0, ONES[1]], r"factors\[0\] must be a real vector; got .*torch\.bool"),
        (
            [ONES[0], torch.tensor([1.0, 1.0, -2.0])],
            r"factors must be positive and finite; that of group 1, channel 2 is -2\.0$",
        ),
    ],
)
def test_the_first_factor_that_is_no_factor_is_named(factors, message):
    with pytest.raises(ValueError, match=message):
        scale_nodes(M, factors)


def test_integers_of_any_width_are_orders():
    order = torch.tensor([2, 0, 1])
    model = mlp(0, [2, 3, 2], nn.Tanh)
    expected = permute_nodes(model, [order])[0].weight
    for dtype in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(permute_nodes(model, [order.to(dtype)])[0].weight, expected)

"""BatchNorm absorbed: same outputs, and the same IGS exactly where the docstring says so."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import igsref
from igsref.transforms.surgery import absorb_batch_norm, draw_absorb_batch_norm
from tests.assertions import assert_same_igs
from tests.closeness import EPS, assert_within
from tests.strategies import SEEDS, architecture, classes, fill_, gaussian

pytestmark = pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")


def normalised_mlp(
    seed: int, *, bias: bool = True, affine: bool = True, inputs: int = 2
) -> nn.Sequential:
    """Linear, BatchNorm, Tanh, Linear with statistics that are not 0 and 1."""
    norm = nn.BatchNorm1d(3, affine=affine)
    layers = nn.Linear(inputs, 3, bias=bias), norm, nn.Tanh(), nn.Linear(3, 3)
    model = fill_(nn.Sequential(*layers).double(), seed, gain=1.5).eval()
    norm.running_mean.copy_(gaussian(seed + 3, 3))
    norm.running_var.copy_(gaussian(seed + 4, 3).exp())
    return model


def labelled(seed: int, inputs: int = 2) -> tuple[Tensor, Tensor]:
    return gaussian(seed + 1, 30, inputs), classes(seed + 2, 30, 3)


@settings(max_examples=3, deadline=None)
@given(seed=SEEDS, bias=st.booleans())
def test_absorption_leaves_igs_with_or_without_a_bias_of_the_layer(seed, bias):
    model, data = normalised_mlp(seed, bias=bias), labelled(seed)
    absorbed = draw_absorb_batch_norm(model, torch.Generator())
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(absorbed, data)
    assert after.num_parameters == before.num_parameters - 3 * (2 if bias else 1)
    assert_same_igs(before, after)


@pytest.mark.long
def test_absorption_into_a_convolution_leaves_igs():
    model, x, y = architecture("batch norm", 0, 50)
    absorbed = absorb_batch_norm(model)
    assert isinstance(absorbed[1], nn.Identity)
    before, after = igsref.exact_igs(model, (x, y)), igsref.exact_igs(absorbed, (x, y))
    assert before.saturation < 0.999
    assert_same_igs(before, after)


def test_outputs_stay_and_the_model_is_left_alone():
    model, x = normalised_mlp(0), gaussian(1, 30, 2)
    kept = copy.deepcopy(model.state_dict())
    absorbed = absorb_batch_norm(model)
    with torch.no_grad():
        before, after = model[:2](x), absorbed[:2](x)
    # Each of five roundings, of W', b' and of the affine map, is at most eps of the sizes added up.
    layer, norm = copy.deepcopy(model[:2]).requires_grad_(False)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).abs()
    size = x.abs() @ layer.weight.abs().T + layer.bias.abs() + norm.running_mean.abs()
    assert_within(after, before, 16 * EPS * (size * scale + norm.bias.abs()))
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert isinstance(model[1], nn.BatchNorm1d)


def test_channel_without_gain_can_raise_igs_and_never_lowers_it():
    rises = 0
    for seed in range(3):
        model, data = normalised_mlp(seed), labelled(seed)
        with torch.no_grad():
            model[1].weight[0] = 0
        before, after = (
            igsref.exact_igs(model, data),
            igsref.exact_igs(absorb_batch_norm(model), data),
        )
        assert after.upper >= before.lower
        assert after.value >= before.value - before.rounding_error - after.rounding_error
        # Before: W of that unit moves nothing. After: it does.
        rises += after.rank > before.rank and after.lower > before.value
    assert rises == 3


@pytest.mark.parametrize("mean, same", [(0.5, True), (0.0, False)])
def test_gain_alone_reaches_the_new_bias_if_bias_and_mean_differ(mean, same):
    # No bias of the layer, β frozen: b' = −γμ/σ moves with γ unless μ = 0.
    model, data = normalised_mlp(0, bias=False), labelled(0)
    model[1].bias.requires_grad_(False)
    model[1].running_mean.fill_(mean)
    before, after = igsref.exact_igs(model, data), igsref.exact_igs(absorb_batch_norm(model), data)
    if same:
        assert_same_igs(before, after)
    else:
        assert after.rank > before.rank
        assert after.lower > before.value


def test_batch_norm_without_parameters_makes_a_frozen_bias_and_leaves_igs():
    model, data = normalised_mlp(0, bias=False, affine=False), labelled(0)
    absorbed = absorb_batch_norm(model)
    assert absorbed[0].bias is not None
    assert not absorbed[0].bias.requires_grad
    assert_same_igs(igsref.exact_igs(model, data), igsref.exact_igs(absorbed, data))


def test_new_bias_is_trained_if_the_shift_was():
    absorbed = absorb_batch_norm(normalised_mlp(0, bias=False))
    assert absorbed[0].weight.requires_grad
    assert absorbed[0].bias.requires_grad


def test_frozen_weights_behind_a_trained_gain_become_trained():
    model, data = normalised_mlp(0), labelled(0)
    model[0].weight.requires_grad_(False)
    absorbed = absorb_batch_norm(model)
    assert absorbed[0].weight.requires_grad
    # One direction a unit before, two now: IGS may rise and cannot fall.
    assert igsref.exact_igs(absorbed, data).rank > igsref.exact_igs(model, data).rank


class Branches(nn.Module):
    """A residual network with functional ReLUs and two BatchNorms, one of them behind a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, bias=False)
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.BatchNorm2d(3)
        self.head = nn.Linear(27, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(self.stem(x)))
        return self.head(torch.flatten(self.second(x + self.conv(x)), 1))


def test_only_batch_norms_right_after_a_layer_are_absorbed():
    model = fill_(Branches().double(), 0).eval()
    absorbed = absorb_batch_norm(model)
    assert isinstance(absorbed.first, nn.Identity)
    assert isinstance(absorbed.second, nn.BatchNorm2d)
    data = gaussian(1, 60, 1, 5, 5), classes(2, 60, 3)
    assert_same_igs(igsref.exact_igs(model, data), igsref.exact_igs(absorbed, data))


def test_network_without_batch_norm_is_refused():
    with pytest.raises(ValueError, match="it has no BatchNorm1d, 2d or 3d at all"):
        absorb_batch_norm(nn.Sequential(nn.Linear(2, 3)))


def test_training_mode_is_refused():
    model = normalised_mlp(0)
    model[1].train()
    with pytest.raises(ValueError, match=r"'1' is in training mode; call model\.eval\(\) first"):
        absorb_batch_norm(model)


def test_batch_norm_without_statistics_is_refused():
    layers = nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)
    with pytest.raises(ValueError, match="'1' keeps no running statistics"):
        absorb_batch_norm(nn.Sequential(*layers).eval())


class Reader(nn.Module):
    """The layer before the BatchNorm is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x + self.norm(x)


class Twice(Reader):
    """The BatchNorm is called twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.norm(self.layer(x)))


def hooked() -> nn.Module:
    model = normalised_mlp(0)
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    return model


def tied() -> nn.Module:
    model = normalised_mlp(0, inputs=3)
    model[3].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    "model, reason",
    [
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3)), "'2' follows '1', a ReLU"),
        (nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3)), "'0' does not follow a layer"),
        (Reader(), "'norm' is not the only one that reads 'layer'"),
        (Twice(), "'norm' is not called exactly once"),
        (hooked(), "'1' or '0' has hooks, parametrisations or tensors that are shared"),
        (tied(), "'1' or '0' has hooks, parametrisations or tensors that are shared"),
        (
            nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 3)),
            r"'1' follows '0', whose inputs may have more axes than \(N, features\)",
        ),
    ],
)
def test_network_with_no_place_to_act_is_refused_with_the_reason(model, reason):
    with pytest.raises(ValueError, match=f"no BatchNorm to absorb: .*{reason}"):
        absorb_batch_norm(model.eval())


def test_batch_norm_over_tokens_is_not_taken_for_one_over_features():
    # Inputs (N, 3, 2): BatchNorm1d normalises the three tokens, the layer has three features.
    layers = nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 3)
    model = nn.Sequential(*layers).eval()
    assert model(torch.zeros(4, 3, 2)).shape == (4, 3)
    with pytest.raises(ValueError, match="may have more axes"):
        absorb_batch_norm(model)


def test_inputs_flattened_from_a_later_axis_are_not_known_to_be_rows():
    layers = nn.Flatten(2), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 3)
    with pytest.raises(ValueError, match="'2' follows '1', whose inputs may have more axes"):
        absorb_batch_norm(nn.Sequential(*layers).eval())


def test_flattened_inputs_are_known_to_be_rows():
    layers = nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Unflatten(1, (3, 1)), nn.Flatten()
    assert isinstance(absorb_batch_norm(nn.Sequential(*layers).eval())[2], nn.Identity)


def test_model_that_cannot_be_traced_is_refused():
    class Branching(Reader):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.layer(x if x.sum() > 0 else -x))

    with pytest.raises(ValueError, match=r"model cannot be traced by torch\.fx"):
        absorb_batch_norm(Branching().eval())

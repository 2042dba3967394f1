"""Model, data and likelihood together; the user's things stay as they were."""

import copy

import jaxtyping
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import igsref
from igsref.data import Samples
from tests.hugging_face import bert
from tests.random_states import states
from tests.strategies import ARCHITECTURES, architecture, classes, gaussian, mlp

X, Y = gaussian(1, 10, 3), classes(2, 10, 3)


def model():
    return mlp(0, [3, 4, 3], nn.Tanh)


class Masked(nn.Module):
    """Two inputs, by position or by name, like a language model's."""

    def __init__(self):
        super().__init__()
        self.embedding, self.layer = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask):
        values = self.embedding(input_ids) * attention_mask[..., None]
        return {"scores": self.layer(values.sum(dim=1))}


TOKENS = classes(3, 40, 9).view(10, 4)
MASK = classes(4, 40, 2).view(10, 4)


def test_a_problem_knows_its_sizes():
    problem = igsref.as_problem(model(), (X, Y))
    assert (problem.num_samples, problem.num_classes, problem.num_parameters) == (10, 3, 31)
    assert (problem.rows_per_sample, problem.num_rows) == (2, 20)


def test_logits_are_the_model_s_in_float64():
    problem = igsref.as_problem(model().float(), (X.float(), Y))
    assert torch.equal(problem.logits, model().float().double()(X.float().double()).detach())


def test_logits_at_another_theta_are_the_model_s_there():
    problem = igsref.as_problem(model(), (X, Y))
    zero = {name: torch.zeros_like(v) for name, v in problem.function.parameters.items()}
    assert not problem.at(zero).any()
    assert torch.equal(problem.at(problem.function.parameters), problem.logits)


def test_more_samples_than_a_forward_chunk_are_evaluated_one_chunk_after_the_other():
    x = gaussian(1, 600, 3)
    problem = igsref.as_problem(model(), (x, classes(2, 600, 3)))
    assert problem.logits.shape == (600, 3)
    assert torch.allclose(problem.logits, model()(x), rtol=0, atol=1e-14)


def test_a_restricted_problem_is_that_of_the_pattern():
    whole = igsref.as_problem(model(), (X, Y))
    names = [name for name in whole.function.parameters if name.endswith("weight")]
    found = igsref.exact_igs(whole.restricted(names))
    assert found == igsref.exact_igs(model(), (X, Y), parameters="*weight")
    assert found.num_parameters < whole.num_parameters


def test_another_dtype_evaluates_the_logits_there():
    single = igsref.as_problem(model(), (X, Y)).astype(torch.float32)
    assert single.logits.dtype == single.targets.dtype == single.residuals().dtype == torch.float32
    assert torch.equal(single.logits, model().float()(X.float()).detach())


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", igsref.Gaussian()])
def test_a_likelihood_is_chosen_by_name_or_given(likelihood):
    targets = (gaussian(3, 10, 3) > 0).double()
    problem = igsref.as_problem(model(), (X, targets), likelihood=likelihood)
    assert problem.rows_per_sample == 3
    assert torch.equal(problem.targets, targets)


INPUTS = {
    "by name": {"input_ids": TOKENS, "attention_mask": MASK, "labels": Y},
    "by position": ((TOKENS, MASK), Y),
    "by name beside labels": ({"attention_mask": MASK, "input_ids": TOKENS}, Y),
}


@pytest.mark.parametrize("data", INPUTS.values(), ids=INPUTS)
def test_integer_inputs_by_position_and_by_name_are_the_same_problem(data):
    torch.manual_seed(0)
    network = Masked().double()
    expected = network(TOKENS, MASK)["scores"].detach()
    problem = igsref.as_problem(network, data, logits="scores")
    assert torch.equal(problem.logits, expected)
    result = igsref.exact_igs(problem)
    assert 0 < result.value <= result.ceiling


def test_a_problem_stands_for_model_and_data():
    problem = igsref.as_problem(model(), (X, Y))
    assert igsref.exact_igs(problem) == igsref.exact_igs(model(), (X, Y))


def test_a_problem_takes_no_options_beside_it():
    problem = igsref.as_problem(model(), (X, Y))
    with pytest.raises(TypeError, match="already holds its data and options; got data, likelihood"):
        igsref.exact_igs(problem, (X, Y), likelihood="gaussian")


def test_data_must_come_with_a_model():
    with pytest.raises(TypeError, match="data is missing"):
        igsref.exact_igs(model())


def test_an_order_of_batches_does_not_change_the_igs():
    whole = igsref.exact_igs(model(), (X, Y))
    batches = igsref.exact_igs(model(), [(X[7:], Y[7:]), (X[:7], Y[:7])])
    # Saturated or not, sums are taken in another order.
    assert batches.value == pytest.approx(whole.value, rel=1e-12)


def snapshot(network):
    """Everything about a module that one could change."""
    return (
        copy.deepcopy(network.state_dict()),
        {name: p.grad.clone() for name, p in network.named_parameters()},
        {name: p.requires_grad for name, p in network.named_parameters()},
        {name: module.training for name, module in network.named_modules()},
        {name: (id(p), p.dtype, p._version) for name, p in network.named_parameters()},
    )


def same(before, after):
    for old, new in zip(before[:2], after[:2], strict=True):
        if list(old) != list(new) or not all(torch.equal(old[name], new[name]) for name in old):
            return False
    return before[2:] == after[2:]


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n not in ("refused by vmap",)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.filterwarnings("ignore:model cannot be vmapped")
def test_the_user_s_model_and_data_are_left_as_they_were(name, dtype):
    network, x, y = architecture(name, 3, 4)
    network = network.to(dtype)
    x = x.to(dtype) if x.is_floating_point() else x
    network(x).sum().backward()
    next(network.parameters()).requires_grad_(False)
    network.add_module("aside", nn.Dropout(0.0).train())
    before, inputs, labels = snapshot(network), x.clone(), y.clone()
    igsref.exact_igs(network, (x, y))
    igsref.textbook_igs(network, (x, y), dtype=torch.float32)
    assert same(before, snapshot(network))
    assert torch.equal(x, inputs)
    assert torch.equal(y, labels)


def test_the_snapshot_sees_a_change():
    network, x, _ = architecture("batch norm", 3, 4)
    network(x).sum().backward()
    before = snapshot(network)
    network.train()(x)
    assert not same(before, snapshot(network.eval()))


@pytest.mark.filterwarnings("ignore:data is a DataLoader that shuffles")
def test_the_global_random_states_are_left_as_they_were(monkeypatch):
    # beartype, which checks annotations under pytest, draws from Python's own generator.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    network, loader = model(), DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True)
    before = states()
    igsref.exact_igs(network, loader)
    igsref.textbook_igs(network, (X, Y))
    assert states() == before


def test_training_mode_without_chance_is_accepted():
    network = nn.Sequential(*model(), nn.Dropout(0.0)).train()
    plain = igsref.exact_igs(model(), (X, Y))
    assert igsref.exact_igs(network, (X, Y)).value == plain.value


def test_a_single_sample_is_a_problem():
    result = igsref.exact_igs(model(), (X[:1], Y[:1]))
    assert result.num_samples == 1
    assert result.saturated
    assert result.value == float(result.sample_ceiling[0])


def test_hugging_face_s_bert_goes_through(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    model = bert(size=8, layers=1).eval()
    data = {
        "input_ids": classes(1, 30, 11).view(6, 5),
        "attention_mask": torch.ones(6, 5, dtype=torch.int64),
        "labels": classes(2, 6, 3),
    }
    with pytest.warns(RuntimeWarning, match="cannot be vmapped") as caught:
        result = igsref.exact_igs(model, transformers.BatchEncoding(data))
    assert len(caught) == 1
    assert result.saturated
    loss = model(**data).loss.detach()
    assert result.loss == pytest.approx(float(loss), rel=1e-5)


MEASURES = [igsref.fisher, igsref.spectrum, igsref.plan, igsref.textbook_igs, igsref.span_residual]


@pytest.mark.parametrize(
    "measure", [*MEASURES, igsref.gradient_hierarchy], ids=lambda function: function.__name__
)
def test_a_geometry_stands_for_its_problem(measure):
    measure(igsref.as_geometry(model(), (X, Y)))


def test_a_problem_and_its_samples_equal_themselves_alone():
    problem, other = (igsref.as_problem(model(), (X, Y)) for _ in range(2))
    for one, another in ((problem, other), (problem.samples, other.samples)):
        assert one == one
        assert one != another
        assert len({one, another}) == 2


class Keeping(nn.Module):
    """Keeps its last activation."""

    def __init__(self):
        super().__init__()
        self.layer = model()

    def forward(self, x):
        self.last = self.layer(x)
        return self.last


def test_a_kept_activation_is_no_obstacle():
    network = Keeping()
    last = network(X)
    assert igsref.exact_igs(network, (X, Y)).value == igsref.exact_igs(model(), (X, Y)).value
    assert network.last is last


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_weight_norm_in_its_old_form_is_no_obstacle():
    network = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 3))).double()
    network(X)
    problem = igsref.as_problem(network, (X, Y))
    assert sorted(problem.function.parameters) == ["0.bias", "0.weight_g", "0.weight_v"]
    assert torch.equal(problem.logits, network(X).detach())


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_takes_copies_of_model_and_data(device):
    model, x, y = architecture("MLP with relu", 0, 6)
    here, placed = igsref.as_problem(model, (x, y)), igsref.as_problem(model, (x, y), device=device)
    assert placed.function.device.type == "cpu"
    assert torch.equal(here.logits, placed.logits)
    pair = (lambda theta, x: x @ theta["w"]), {"w": torch.ones(x.shape[1], 3, dtype=x.dtype)}
    assert igsref.as_problem(pair, (x, y), device=device).num_parameters == 3 * x.shape[1]


def test_samples_move_with_all_their_parts():
    x, y = torch.ones(2, 3), torch.tensor([0, 1])
    samples = Samples((x,), {"mask": x}, y).to(torch.device("meta"))
    devices = {t.device.type for t in (*samples.args, *samples.kwargs.values(), samples.labels)}
    assert devices == {"meta"}


@pytest.mark.parametrize("device", ["no such", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device):
    model, x, y = architecture("MLP with relu", 0, 6)
    with pytest.raises(ValueError, match=f"device must be one that is there; got '{device}'"):
        igsref.as_problem(model, (x, y), device=device)


def test_probabilities_in_the_place_of_logits_are_warned_of():
    model, x, y = architecture("MLP with tanh", 0, 30)
    softmax = nn.Sequential(model, nn.Softmax(dim=1))
    with pytest.warns(RuntimeWarning, match="model returns probabilities"):
        igsref.as_problem(softmax, (x, y))
    # Logarithms of probabilities are logits, whose softmax they are.
    log_softmax = nn.Sequential(model, nn.LogSoftmax(dim=1))
    same = igsref.exact_igs(log_softmax, (x, y))
    assert same.lower <= igsref.exact_igs(model, (x, y)).upper
    assert igsref.exact_igs(model, (x, y)).lower <= same.upper


def test_bytes_that_a_model_does_not_take_are_named():
    network, x = nn.Linear(4, 3), torch.ones(5, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"Inputs are uint8: scale them .*, x / 255\.0 say"):
        igsref.as_problem(network, (x, torch.zeros(5).long()))

"""EKFAC in training against the dense Fisher matrix: one batch, several, and what is refused."""

from itertools import pairwise

import jaxtyping
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import igsref
from igsref.training import EKFAC, ekfac, empirical_labels, sampled_labels
from tests.closeness import assert_within
from tests.curvature.kfac.cases import AGREEMENT, assert_scalings_are_fishers, basis, fisher_block
from tests.peak_memory import measured, needs_proc
from tests.random_states import states
from tests.strategies import architecture, classes, convolutional, fill_, gaussian
from tests.training.networks import batch, small

K, D = "kronecker", "diagonal"


class Words(nn.Module):
    """A table with padding, a normalisation over its entries, and a head."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(6, 3, padding_idx=0), nn.LayerNorm(3)
        self.head = nn.Linear(3, 3)

    def forward(self, tokens):
        return self.head(torch.tanh(self.norm(self.table(tokens))).mean(dim=1))


def words(seed=1, samples=5):
    """(model, x, y); tokens repeat within a sample, and some are padding."""
    model = fill_(Words().double(), seed)
    return model, classes(seed + 1, samples * 4, 6).view(samples, 4), classes(seed + 2, samples, 3)


def images():
    model = fill_(convolutional(normalised=True).double(), 1, gain=1.5).eval()
    return model, gaussian(2, 4, 1, 5, 5), classes(3, 4, 3)


def whole(model, x):
    """F of these inputs; labels take no part."""
    return igsref.fisher(model, (x, torch.zeros(len(x), dtype=torch.int64)))


def updated(model, *batches, **settings):
    """After a look at each batch."""
    made = EKFAC(model, **{"statistics_every": 1, **settings})
    for x in batches:
        made.update(x)
    return made


@pytest.mark.parametrize("build", [words, images, lambda: (small(), *batch())])
def test_the_first_look_has_the_diagonal_of_f_in_its_bases_and_the_trace(build):
    model, x, _ = build()
    exact, found = whole(model, x), updated(model, x).approximation()
    places = torch.cat([block.entries.flatten() for block in found.blocks])
    assert places.sort().values.tolist() == list(range(len(exact)))
    for block in found.blocks:
        assert_scalings_are_fishers(block, exact)
    trace = float(exact.trace())
    assert float(found.diagonal().sum()) == pytest.approx(trace, rel=AGREEMENT)


def test_of_one_layer_and_one_input_it_is_f():
    model, x = fill_(nn.Linear(3, 4).double(), 1), gaussian(2, 1, 3)
    found = updated(model, x, damping=0.0).approximation()
    f = found.power(torch.eye(16).double(), 1.0)
    exact = whole(model, x)
    assert_within(f, exact, AGREEMENT * float(exact.max()))


def test_more_rows_than_are_held_together_are_all_there_and_inputs_count_once():
    model, x = fill_(nn.Linear(2, 20, bias=False).double(), 1), gaussian(2, 5, 2)
    found = updated(model, x)
    (block,) = found.approximation().blocks
    assert_scalings_are_fishers(block, whole(model, x))
    ((averages, _),) = found.state_dict()["statistics"].values()
    assert_within(averages["inputs"][0], x.mT @ x / 5, AGREEMENT * float(x.norm()) ** 2)


def test_rules_are_those_that_are_documented():
    model, _, _ = words()
    assert EKFAC(model).rules == {
        "table.weight": "embedding",
        "norm.weight": D, "norm.bias": D, "head.weight": K, "head.bias": K,
    }  # fmt: skip
    model, _, _ = images()
    assert EKFAC(model).rules == {
        f"{n}.{kind}": D if n == 1 else K for n in (0, 1, 3, 5) for kind in ("weight", "bias")
    }


def weighted(values, decay):
    """Their mean with weights decay^(K−k)."""
    weights = [decay ** (len(values) - 1 - k) for k in range(len(values))]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def test_scalings_are_the_naive_running_average_in_a_basis_that_stays():
    model = small()
    batches = [batch(seed)[0] for seed in (1, 3, 5)]
    first = updated(model, batches[0])
    found = updated(model, *batches, decay=0.7)
    fishers = [whole(model, x) for x in batches]
    pairs = zip(found.approximation().blocks, first.approximation().blocks, strict=True)
    for block, before in pairs:
        u = basis(block)
        assert torch.equal(u, basis(before))
        naive = [(u.mT @ fisher_block(f, block) @ u).diagonal() for f in fishers]
        expected = weighted(naive, 0.7)
        assert_within(block.scalings.flatten(), expected, AGREEMENT * float(expected.max()))


def test_a_new_basis_is_that_of_the_averaged_factors_and_keeps_the_trace():
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    batches = [gaussian(seed, 6, 3) for seed in (1, 2, 3)]
    (block,) = updated(model, *batches, decay=0.7, basis_every=2).approximation().blocks
    with_one = [torch.cat([x, torch.ones(6, 1).double()], dim=1) for x in batches]
    a = weighted([x.mT @ x / 6 for x in with_one], 0.7)
    turned = block.input_basis[0].mT @ a @ block.input_basis[0]
    diagonal = torch.diag(turned.diagonal())
    assert_within(turned, diagonal, AGREEMENT * float(a.abs().max()))
    trace = float(weighted([whole(model, x).trace() for x in batches], 0.7))
    assert float(block.scalings.sum()) == pytest.approx(trace, rel=AGREEMENT)


def test_statistics_and_bases_have_intervals_of_their_own():
    model = small()
    found = EKFAC(model, statistics_every=2, basis_every=3, decay=0.5)
    seen = []
    for seed in range(7):
        found.update(gaussian(seed, 5, 3))
        block = found.approximation().blocks[0]
        seen.append((block.scalings.clone(), block.input_basis.clone()))
    changed = [
        [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        for before, after in pairwise(seen)
    ]
    # Looks at updates 0, 2, 4, 6. Three updates after the basis of 0 the next look is at 4.
    assert [scalings for scalings, _ in changed] == [False, True, False, True, False, True]
    assert [bases for _, bases in changed] == [False, False, False, True, False, False]


def exact_gradient(model, x, y):
    model.zero_grad()
    cross_entropy(model(x), y).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def flat(named):
    return torch.cat([value.flatten() for value in named.values()])


def cosines_with_the_exact_steps(model, x, y):
    """Of EKFAC's steps, and of the gradients themselves, in the mean over ten batches.

    Of batches, since a gradient of all samples that has been descended along is all but parallel to
    its own exact step: nothing could be told from it.
    """
    exact = whole(model, x)
    damping = 0.1 * float(torch.linalg.eigvalsh(exact)[-1])
    found = updated(model, x, damping=0.0, absolute=damping)
    damped = exact + damping * torch.eye(len(exact)).double()
    cosines = []
    for part in torch.arange(len(x)).chunk(10):
        g = exact_gradient(model, x[part], y[part])
        wanted = torch.linalg.solve(damped, flat(g))
        along = torch.stack([flat(found(g)), flat(g)])
        cosines.append(torch.cosine_similarity(along, wanted, dim=1))
    return torch.stack(cosines).mean(dim=0).tolist()


def test_its_steps_are_near_the_exact_damped_ones_before_and_after_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    model, x = model.double(), gaussian(1, 60, 4)
    y = (x @ gaussian(2, 4, 3)).argmax(dim=1)
    found, of_gradients = cosines_with_the_exact_steps(model, x, y)
    assert found > max(0.9, of_gradients)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(100):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    found, of_gradients = cosines_with_the_exact_steps(model, x, y)
    assert found > max(0.75, of_gradients)


def test_powers_are_of_the_damped_matrix_and_compose():
    model, x, y = words()
    found, g = updated(model, x, damping=0.05), exact_gradient(model, x, y)
    expected = found.approximation().power(flat(g)[:, None], -1.0, 0.05)[:, 0]
    assert torch.equal(flat(found(g)), expected)
    twice = found.power(found.power(g, -0.5), -0.5)
    # 1/λ is at most 20 of the largest scaling: √eps is far above what is lost.
    assert_within(flat(twice), expected, 1e-10 * float(expected.norm()))
    part = {"head.bias": g["head.bias"]}
    filled = {n: value if n in part else torch.zeros_like(value) for n, value in g.items()}
    assert torch.equal(found(part)["head.bias"], found(filled)["head.bias"])
    assert list(found(part)) == ["head.bias"]


def test_from_its_state_it_goes_on_bit_for_bit():
    settings = {"basis_every": 2, "decay": 0.8, "labels": sampled_labels}
    model = architecture("attention and embedding", 1, 6)[0].train()
    batches = [classes(seed, 30, 7).view(6, 5) for seed in range(5)]
    one = updated(model, *batches[:3], allow_diagonal=True, **settings)
    other = updated(model, allow_diagonal=True, **settings)
    other.load_state_dict(one.state_dict())
    for x in batches[3:]:
        one.update(x)
        other.update(x)
    assert one.rules == other.rules
    pairs = zip(one.approximation().blocks, other.approximation().blocks, strict=True)
    for a, b in pairs:
        assert torch.equal(a.scalings, b.scalings) and torch.equal(a.entries, b.entries)
        assert torch.equal(basis(a), basis(b))


def test_a_state_of_another_model_is_refused_and_changes_nothing():
    found = EKFAC(small())
    rules = found.rules
    with pytest.raises(
        ValueError, match=r"state must be of a model of the same tensors; for 2\.weight"
    ):
        found.load_state_dict(EKFAC(small(norm=True)).state_dict())
    assert found.rules == rules


def test_from_its_state_products_are_the_same_bit_for_bit():
    """Of a matrix as wide as a product is cut up for: strides decide in which order it adds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(80, 70), nn.Tanh(), nn.Linear(70, 3))
    x = torch.randn(9, 80)
    one = updated(model, x)
    other = updated(model)
    other.load_state_dict(one.state_dict())
    for _ in range(2):
        g = {n: torch.randn_like(p) for n, p in model.named_parameters()}
        assert all(
            torch.equal(a, b) for a, b in zip(one(g).values(), other(g).values(), strict=True)
        )
        one.update(x)
        other.update(x)


def test_parameters_that_were_frozen_or_freed_are_named():
    model, (x, _) = small(), batch()
    found = updated(model, x)
    model[0].weight.requires_grad_(False)
    for call in (lambda: [found.update(x) for _ in range(10)], lambda: found({})):
        with pytest.raises(RuntimeError, match=r"0\.weight changed\. Make a new EKFAC"):
            call()


def test_an_empty_batch_is_refused():
    model, (x, _) = small(), batch()
    with pytest.raises(ValueError, match="x must hold at least one sample; got none"):
        EKFAC(model).update(x[:0])


def test_gradients_of_another_form_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which has its own words
    model, (x, _) = small(), batch()
    found = updated(model, x)
    for gradients, message in [
        ({"0.weight": torch.zeros(3, 6)}, r"shape \(6, 3\) for 0\.weight; got"),
        ({"0.weight": None}, r"shape \(6, 3\) for 0\.weight; got None"),
        ([1], "gradients must be tensors by the parameters' names; got a list of int"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            found(gradients)


def test_a_state_is_no_view_of_what_goes_on():
    model, (x, _) = small(), batch()
    found = updated(model, x)
    state = found.state_dict()
    before = [value.clone() for part in state["statistics"].values() for value in part[0].values()]
    found.update(2 * x)
    after = [value for part in state["statistics"].values() for value in part[0].values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_empirical_labels_give_the_second_moment_of_the_gradients():
    model, (x, y) = small(), batch()
    found = EKFAC(model, labels=empirical_labels)
    with pytest.raises(ValueError, match="needs the labels"):
        found.update(x)
    found.update(x, y)
    rows = [flat(exact_gradient(model, x[i : i + 1], y[i : i + 1])) for i in range(len(x))]
    moment = torch.stack(rows).mT @ torch.stack(rows) / len(x)
    for block in found.approximation().blocks:
        assert_scalings_are_fishers(block, moment)


def test_sampled_labels_give_the_second_moment_for_some_labels():
    model, x = fill_(nn.Linear(3, 2).double(), 1), gaussian(2, 1, 3)
    (block,) = updated(model, x, labels=sampled_labels).approximation().blocks
    moments = []
    for label in (0, 1):
        g = flat(exact_gradient(model, x, torch.tensor([label])))
        u = basis(block)
        moments.append((u.mT @ fisher_block(torch.outer(g, g), block) @ u).diagonal())
    errors = [float((block.scalings.flatten() - moment).norm()) for moment in moments]
    assert min(errors) <= AGREEMENT * float(block.scalings.max())


class Scaled(nn.Module):
    """A layer under batch statistics, then a factor and a bias of the module's own; one logit."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.factor, self.bias = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.ones(1))

    def forward(self, x):
        return (torch.tanh(self.norm(self.layer(x))) * self.factor).sum(1, keepdim=True) + self.bias


def coupled_fisher(model, x):
    """F of a model whose samples depend on each other, from the Jacobian of all its logits."""
    theta = {n: p.detach() for n, p in model.named_parameters()}

    def logits(values):
        buffers = {n: b.clone() for n, b in model.named_buffers()}
        return torch.func.functional_call(model, {**values, **buffers}, (x,))

    rows = [j.reshape(len(x), -1) for j in torch.func.jacrev(logits)(theta).values()]
    jacobian, p = torch.cat(rows, dim=1), logits(theta).sigmoid()
    return jacobian.mT @ (p * (1 - p) * jacobian) / len(x)


def test_tensors_without_a_layer_have_the_diagonal_of_f_in_the_mean_over_signs():
    model, x = fill_(Scaled().double(), 1), gaussian(2, 2, 2)
    exact = coupled_fisher(model, x).diagonal()
    found = EKFAC(model, likelihood="bernoulli", allow_diagonal=True, statistics_every=1, decay=0.0)
    assert [n for n, rule in found.rules.items() if rule == D] == [
        "factor", "bias", "norm.weight", "norm.bias",
    ]  # fmt: skip
    seen = {}
    for _ in range(8):
        found.update(x)
        alone = found.approximation().diagonal()[:3]
        seen[float(alone[2])] = alone
    # Two samples have a common sign or not; one draw in 128 shows only one of the two.
    assert len(seen) == 2
    assert_within(sum(seen.values()) / 2, exact[:3], AGREEMENT * float(exact.max()))


def test_a_look_leaves_modes_statistics_gradients_and_random_states():
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3))
    (x, y), model = batch(), model.double()
    cross_entropy(model(x), y).backward()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    found = EKFAC(model)
    # The first is Python's, which beartype draws from where it checks arguments.
    chance = states()[1:]
    found.update(x)
    assert states()[1:] == chance
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    for a, p in zip(gradients, model.parameters(), strict=True):
        assert torch.equal(a, p.grad)
    assert model.training and all(p.requires_grad and p.is_leaf for p in model.parameters())


def test_single_precision_stays_single():
    model, (x, y) = small().float(), batch()
    found = updated(model, x.float())
    assert {block.scalings.dtype for block in found.approximation().blocks} == {torch.float32}
    step = found(exact_gradient(model, x.float(), y))
    assert {value.dtype for value in step.values()} == {torch.float32}
    exact = whole(small(), x)
    for block in found.approximation().blocks:
        # Some 200 roundings one after the other, in forward and backward pass and rotations.
        assert_scalings_are_fishers(block, exact, share=200 * 2.0**-23)


def test_inputs_by_keyword_and_several():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3).double()

        def forward(self, x, shift):
            return self.layer(x + shift)

    model, x, shift = Sum(), gaussian(1, 4, 3), gaussian(2, 4, 3)
    expected = whole(model.layer, x + shift)
    for given in ((x, shift), {"shift": shift, "x": x}):
        for block in updated(model, given).approximation().blocks:
            assert_scalings_are_fishers(block, expected)


def test_what_has_no_rule_is_refused_by_name_or_has_a_diagonal():
    tied = architecture("tied weights", 1, 5)[0]
    with pytest.raises(ValueError, match=r"no rule for encoder\.weight \(Linear\); layers with"):
        EKFAC(tied)
    recurrent = architecture("GRU", 1, 5)[0]
    with pytest.raises(ValueError, match=r"weight_ih_l0 \(GRU\).*Linear, .*allow_diagonal=True"):
        EKFAC(recurrent)
    assert EKFAC(recurrent, allow_diagonal=True).rules["cell.weight_ih_l0"] == D


def test_a_layer_whose_calls_do_not_tell_its_gradient_is_refused_or_has_a_diagonal():
    model, x, _ = architecture("attention and embedding", 1, 1)
    model.train()
    found = EKFAC(model, allow_diagonal=True)
    assert found.rules["attention.out_proj.weight"] == K
    found.update(x)
    assert found.rules["attention.out_proj.weight"] == D
    # Of one sample a random sign is no noise.
    exact = igsref.fisher(model.eval(), (x, torch.tensor([0])))
    for block in found.approximation().blocks:
        assert_scalings_are_fishers(block, exact)


def test_an_untold_layer_is_refused_in_the_first_batch():
    class Elsewhere(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.head(self.first(x)) * self.first.weight.norm()

    for norm in (nn.Identity(), nn.BatchNorm1d(3)):
        model = nn.Sequential(Elsewhere(), norm).double()
        with pytest.raises(ValueError, match=r"no rule for 0\.first\.weight \(Linear\), 0\.first"):
            EKFAC(model).update(gaussian(1, 4, 3))


@pytest.fixture
def as_users_run_it(monkeypatch):
    """Without the annotations that pytest may execute: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"decay": 1.0}, ValueError, r"decay must be at least 0 and below 1; got 1\.0"),
        ({"decay": -0.1}, ValueError, "decay must be at least 0 and below 1"),
        ({"decay": "much"}, TypeError, "decay must be a number"),
        ({"statistics_every": 0}, ValueError, "statistics_every must be at least 1; got 0"),
        ({"basis_every": 0.5}, TypeError, "basis_every must be an integer"),
        ({"damping": -0.1}, ValueError, "damping must be at least 0 and finite"),
        ({"absolute": float("inf")}, ValueError, "absolute must be at least 0 and finite"),
        ({"likelihood": "poisson"}, ValueError, "likelihood must be one of"),
        ({"labels": "exact"}, TypeError, "labels must be a rule such as exact_labels; got 'exact'"),
        ({"generator": 3}, TypeError, "generator must be a torch.Generator"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        EKFAC(small(), **settings)


def test_what_is_out_of_order_is_refused():
    model, (x, y) = small(), batch()
    found, g = EKFAC(model), exact_gradient(model, x, y)
    with pytest.raises(RuntimeError, match="no statistics yet; update must come first"):
        found(g)
    with pytest.raises(ValueError, match=r"names of parameters of model; got \['other'\]"):
        found({"other": g["0.bias"]})
    with pytest.raises(FloatingPointError, match="the logits of sample 0 are not finite"):
        found.update(x / 0)
    with pytest.raises(ValueError, match="no trainable parameters"):
        EKFAC(model.requires_grad_(False))


WIDE = """
from igsref.training import EKFAC
from igsref.training.layer_statistics import held_bytes, passing_bytes
from igsref.training.layers import known_layers
from igsref.training.live import live_function

def model(width):
    torch.manual_seed(0)
    layers = torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)
    return torch.nn.Sequential(*layers)

def looked(net, x):
    ekfac = EKFAC(net)
    ekfac.update(x)
    return ekfac

def predicted(net):
    function = live_function(net)
    layers = known_layers(function)
    held = sum(held_bytes(layer, function.parameters) for layer in layers)
    return held + max(map(passing_bytes, layers))

few, net, x = model(8), model(1500), torch.randn(8, 1500)
"""


@needs_proc
@pytest.mark.long
def test_memory_is_predicted():
    predicted, peak = measured(
        WIDE, "looked(few, x[:, :8])", "kept = looked(net, x)", "predicted(net)"
    )
    # What per-sample gradients may take is twice what they take of eight samples.
    assert 0.7 * predicted < peak < predicted


def test_what_does_not_fit_is_refused_with_its_largest_layer(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 30), nn.Linear(30, 2))
    held = 3 * 4 * (5**2 + 30**2 + 31**2 + 2**2) + 16 * (30 * 5 + 2 * 31)
    needed = held + 2**27  # of per-sample gradients; the bases are smaller
    monkeypatch.setattr(ekfac, "available_memory", lambda device: needed)
    EKFAC(model)
    monkeypatch.setattr(ekfac, "available_memory", lambda device: needed - 1)
    message = r"EKFAC of 2 layers, .* of it for 0\.weight, needs .* is there; leave tensors out"
    with pytest.raises(MemoryError, match=message):
        EKFAC(model)

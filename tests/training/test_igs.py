"""The IGS step: its formula, what it rises by in the mean over batches, and the two passes."""

from datetime import timedelta
from itertools import combinations

import jaxtyping
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import igsref
from igsref.training import EKFAC, IGS, SAM, empirical_labels
from tests.closeness import EPS, assert_within
from tests.strategies import classes, fill_, gaussian
from tests.training.networks import batch, closure_of, gradient, small


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def flat(named):
    return torch.cat([value.flatten() for value in named.values()])


def exact_preconditioner(model, x):
    """g ↦ F⁺g with the pseudo-inverse of the dense Fisher matrix of these inputs."""
    fisher = igsref.fisher(model, (x, torch.zeros(len(x), dtype=torch.int64)))
    inverse = torch.linalg.pinv(fisher, rtol=1e-10, hermitian=True)

    def natural(gradients):
        along = (inverse @ flat(gradients)).split([g.numel() for g in gradients.values()])
        pairs = zip(gradients.items(), along, strict=True)
        return {name: part.view_as(g) for (name, g), part in pairs}

    return natural


def values(model):
    return [p.detach().clone() for p in model.parameters()]


def moved(optimizer, data):
    """δ by names, found by hand."""
    before = {n: p.detach().clone() for n, p in optimizer.model.named_parameters()}
    with optimizer.reading():
        cross_entropy(optimizer.model(data[0]), data[1]).backward()
    optimizer.perturb()
    after = {n: p.detach() - before[n] for n, p in optimizer.model.named_parameters()}
    optimizer.restore()
    return after


@pytest.mark.parametrize("normalised", [True, False])
def test_delta_is_its_formula(normalised):
    model, data = small(1), batch(2)
    natural, g = exact_preconditioner(model, data[0]), gradient(model, data)
    along = natural(g)
    energy = float(flat(g) @ flat(along))
    size = 0.3 / energy**0.5 if normalised else 0.3
    optimizer = IGS(model, sgd(model, 0.0), rho=0.3, normalised=normalised, preconditioner=natural)
    # θ + δ − θ has lost a last place of θ, and the gradients' rounding has grown by F⁺ to 1e-9.
    change = flat(moved(optimizer, data))
    torch.testing.assert_close(change, size * flat(along), rtol=1e-7, atol=1e-14)
    assert optimizer.rises[-1].predicted == pytest.approx(size * energy, rel=1e-7)
    assert optimizer.rises[-1].actual is None
    if normalised:
        fisher = igsref.fisher(model, data)
        assert float(change @ fisher @ change) == pytest.approx(0.09, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_mean_over_all_batches_of_the_predicted_rise_is_rho_times_igs_b(size):
    model = fill_(nn.Linear(2, 3).double(), 1)
    x, y = gaussian(2, 5, 2), classes(3, 5, 3)
    natural = exact_preconditioner(model, x)
    plain = IGS(model, sgd(model), rho=0.01, normalised=False, preconditioner=natural)
    ball = IGS(model, sgd(model), rho=0.01, preconditioner=natural)
    for chosen in combinations(range(5), size):
        part = x[list(chosen)], y[list(chosen)]
        for optimizer in (plain, ball):
            optimizer.zero_grad()
            moved(optimizer, part)
    expected = float(igsref.exact_igs(model, (x, y)).minibatch(size))
    count = len(plain.rises)
    assert sum(rise.predicted for rise in plain.rises) / count == pytest.approx(
        0.01 * expected, rel=1e-8
    )
    # (ρ√(gF⁺g))² in the ball.
    squares = sum(rise.predicted**2 for rise in ball.rises) / count
    assert squares == pytest.approx(0.01**2 * expected, rel=1e-8)


def test_a_step_goes_along_the_gradient_there_and_logs_both_rises():
    model, data = small(1), batch(2)
    optimizer = IGS(model, sgd(model), rho=1e-4)
    ekfac = EKFAC(model)
    ekfac.update(data[0])
    g, before = gradient(model, data), values(model)
    along = ekfac(g)
    size = 1e-4 / float(flat(g) @ flat(along)) ** 0.5
    there = gradient(model, data, {n: size * value for n, value in along.items()})
    loss = optimizer.step(closure_of(model, optimizer, data))
    assert loss.item() == pytest.approx(
        cross_entropy(functional(model, before, data[0]), data[1]).item(), rel=1e-12
    )
    for value, now, g in zip(before, values(model), there.values(), strict=True):
        torch.testing.assert_close(now, value - 0.1 * g, rtol=1e-9, atol=1e-12)
    (rise,) = optimizer.rises
    # The second order is ρ times smaller, up to the curvature in this metric.
    assert rise.actual == pytest.approx(rise.predicted, rel=1e-2) and rise.predicted > 0


def functional(model, theta, x):
    names = [name for name, _ in model.named_parameters()]
    return torch.func.functional_call(model, dict(zip(names, theta, strict=True)), (x,)).detach()


def test_a_batch_in_parts_is_one_batch():
    model, (x, y) = small(), batch()
    whole, parts = (IGS(model, sgd(model, 0.0)) for _ in range(2))
    whole.step(closure_of(model, whole, (x, y)))
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    slices = slice(0, 5), slice(5, 12)
    for part in slices:
        with parts.reading():
            cross_entropy(model(x[part]), y[part], reduction="sum").div(12).backward()
    parts.perturb()
    for part in slices:
        cross_entropy(model(x[part]), y[part], reduction="sum").div(12).backward()
    parts.restore()
    assert parts.rises[-1].predicted == pytest.approx(whole.rises[-1].predicted, rel=1e-9)
    for a, p in zip(expected, model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, a, rtol=1e-9, atol=1e-12)


def test_running_statistics_are_those_of_one_pass():
    model, data = small(norm=True), batch()
    alone = small(norm=True)
    alone(data[0])
    optimizer = IGS(model, sgd(model), rho=0.5)
    optimizer.step(closure_of(model, optimizer, data))
    assert int(model[1].num_batches_tracked) == 1
    assert torch.equal(model[1].running_mean, alone[1].running_mean)
    assert torch.equal(model[1].running_var, alone[1].running_var)


def test_clipping_is_of_what_the_base_optimizer_sees():
    model, data = small(), batch()
    optimizer = IGS(model, sgd(model))
    moved(optimizer, data)
    cross_entropy(model(data[0]), data[1]).backward()
    before = values(model)
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.base.step()
    change = torch.cat([(a - b).flatten() for a, b in zip(before, values(model), strict=True)])
    assert float(change.norm()) == pytest.approx(0.1 * 1e-3, rel=1e-3)  # clip adds 1e-6 to norms


def test_labels_reach_the_rules_that_ask_for_them():
    model, (x, y) = small(), batch()
    optimizer = IGS(model, sgd(model, 0.0), preconditioner=EKFAC(model, labels=empirical_labels))
    optimizer.step(closure_of(model, optimizer, (x, y)), y)
    alone = EKFAC(model, labels=empirical_labels)
    alone.update(x, y)
    pairs = zip(
        optimizer.preconditioner.approximation().blocks, alone.approximation().blocks, strict=True
    )
    assert all(torch.equal(a.scalings, b.scalings) for a, b in pairs)
    with pytest.raises(ValueError, match="labels must be those of the 12 samples inside; got 11"):
        optimizer.step(closure_of(model, optimizer, (x, y)), y[:11])


def test_nothing_is_left_on_the_model_and_copies_are_not_read():
    model, data = small(), batch()
    optimizer = IGS(model, sgd(model, 0.0))
    with optimizer.reading():
        twin = igsref.model.logit_function(model).module
        twin(data[0])
    cross_entropy(model(data[0]), data[1]).backward()
    with pytest.raises(RuntimeError, match=r"with optimizer\.reading\(\).*nothing was read"):
        optimizer.perturb()
    assert not model._forward_pre_hooks
    optimizer.step(closure_of(model, optimizer, data))


def test_from_its_state_it_goes_on_bit_for_bit():
    models, data = [small() for _ in range(2)], [batch(seed) for seed in range(4)]
    one, other = (IGS(m, sgd(m), preconditioner=EKFAC(m, statistics_every=2)) for m in models)
    for part in data[:2]:
        one.step(closure_of(models[0], one, part))
    models[1].load_state_dict(models[0].state_dict())
    other.load_state_dict(one.state_dict())
    for part in data[2:]:
        one.step(closure_of(models[0], one, part))
        other.step(closure_of(models[1], other, part))
    assert all(torch.equal(a, b) for a, b in zip(*map(values, models), strict=True))
    plain = IGS(models[0], sgd(models[0]), preconditioner=dict)
    assert list(plain.state_dict()) == ["settings", "base"]
    plain.load_state_dict(plain.state_dict())


def test_the_state_of_other_settings_is_refused_and_changes_nothing():
    model = small()
    one = IGS(model, sgd(model), rho=0.5)
    one.step(closure_of(model, one, batch()))
    base = torch.optim.SGD(model.parameters(), lr=0.7)
    for other, message in [
        (IGS(model, base), "rho 0.5 there, 0.02 here"),
        (IGS(model, base, rho=0.5, normalised=False), "normalised True there, False here"),
        (IGS(model, base, rho=0.5, preconditioner=EKFAC(model, damping=0.3)), "damping 0.1 there"),
        (SAM(model, base, rho=0.5), "method IGS there, SAM here"),
    ]:
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(one.state_dict())
        assert other.param_groups[0]["lr"] == 0.7
    with pytest.raises(ValueError, match="state must have the entries settings, base, ekfac; got"):
        one.load_state_dict(SAM(model, base).state_dict())
    strange = small(norm=True)
    with pytest.raises(ValueError, match=r"for 3\.weight it has nothing"):
        IGS(strange, sgd(strange, 0.7), rho=0.5).load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda g: None, TypeError, "must be tensors by parameters' names; got None"),
        (lambda g: {}, ValueError, r"a tensor of shape \(6, 3\) for 0\.weight; got None"),
        (lambda g: {n: v.flatten() for n, v in g.items()}, ValueError, r"shape \(6, 3\) for 0"),
        (lambda g: {**g, "new": g["2.bias"]}, ValueError, "must have nothing for new"),
    ],
)
def test_what_a_preconditioner_must_return_is_said_and_nothing_moves(returned, error, message):
    model, data = small(), batch()
    optimizer = IGS(model, sgd(model), preconditioner=returned)
    before = values(model)
    with pytest.raises(error, match=f"what preconditioner returns .*{message}"):
        optimizer.step(closure_of(model, optimizer, data))
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


def test_at_a_stationary_point_nothing_moves():
    model, (x, _) = small(), batch()
    optimizer = IGS(model, sgd(model), preconditioner=dict)
    before = values(model)
    (0.0 * model(x).sum()).backward()
    optimizer.perturb()
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))
    assert optimizer.rises[-1].predicted == 0.0


def test_a_preconditioner_that_is_not_positive_is_refused_and_nothing_moves():
    model, data = small(), batch()
    optimizer = IGS(
        model, sgd(model), preconditioner=lambda g: {name: -value for name, value in g.items()}
    )
    before = values(model)
    with pytest.raises(FloatingPointError, match="finite and not negative; it is -"):
        optimizer.step(closure_of(model, optimizer, data))
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


def quarter_turns(g):
    """Entries (a, b) ↦ (−b, a), which is orthogonal to g, and some rounding's worth of −g."""
    pairs = g.flatten()[: g.numel() // 2 * 2].view(-1, 2)
    turned = torch.zeros_like(g).flatten()
    turned[: pairs.numel()] = torch.stack([-pairs[:, 1], pairs[:, 0]], dim=1).flatten()
    return turned.view_as(g) - 2.0**-40 * g


def test_what_is_negative_by_rounding_alone_is_zero():
    model, data = small(), batch()
    optimizer = IGS(
        model, sgd(model), preconditioner=lambda g: {n: quarter_turns(v) for n, v in g.items()}
    )
    before = values(model)
    cross_entropy(model(data[0]), data[1]).backward()
    optimizer.perturb()
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


@pytest.fixture
def as_users_run_it(monkeypatch):
    """Without the annotations that pytest may execute: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_settings_are_refused():
    model = small()
    for rho in (0.0, float("nan")):
        with pytest.raises(ValueError, match="rho must be finite and positive"):
            IGS(model, sgd(model), rho=rho)
    with pytest.raises(TypeError, match="preconditioner must be an EKFAC or a function"):
        IGS(model, sgd(model), preconditioner="ekfac")
    with pytest.raises(ValueError, match="one of another model"):
        IGS(model, sgd(model), preconditioner=EKFAC(small()))


def one_of_two(rank, folder):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/met",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    try:
        model, (x, y) = small(), batch()
        wrapped = DistributedDataParallel(model)
        optimizer = IGS(wrapped, sgd(wrapped))
        own = slice(6 * rank, 6 * rank + 6)
        for _ in range(2):
            optimizer.step(closure_of(wrapped, optimizer, (x[own], y[own])))
        return values(model)
    finally:
        dist.destroy_process_group()


def the_other(_, folder):
    one_of_two(1, folder)


@pytest.mark.long
def test_two_processes_move_as_one(tmp_path):
    model, data = small(), batch()
    optimizer = IGS(model, sgd(model))
    for _ in range(2):
        optimizer.step(closure_of(model, optimizer, data))
    # This process is the first of the two: another one has torch to import first.
    other = mp.spawn(the_other, args=(tmp_path,), nprocs=1, join=False)
    found = one_of_two(0, tmp_path)
    other.join()
    # Eigenvectors turn by the rounding of a factor over the gap to the next eigenvalue, after some
    # hundreds of roundings; θ moves by no more than its own size.
    share = 500 * EPS / smallest_gap(optimizer.preconditioner)
    assert share < 1e-8
    for a, b in zip(found, values(model), strict=True):
        assert_within(a, b, share * float(b.abs().max()))


def smallest_gap(ekfac):
    """Between eigenvalues of a factor, as a share of the largest."""
    gaps = []
    for averages, _ in ekfac.state_dict()["statistics"].values():
        for side in ("inputs", "outputs"):
            eigenvalues = torch.linalg.eigvalsh(averages[side][0])
            gaps.append(float(eigenvalues.diff().min() / eigenvalues[-1]))
    return min(gaps)

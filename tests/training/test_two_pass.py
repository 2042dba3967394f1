"""The protocol: what moves, what comes back, and what is refused."""

import jaxtyping
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from igsref.training import ASAM, IGS, SAM, TwoPass
from tests.training.networks import batch, closure_of, gradient, small


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def values(model):
    return [p.detach().clone() for p in model.parameters()]


def test_the_base_optimizer_goes_along_the_gradient_of_the_second_pass():
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model), rho=0.3)
    before = values(model)
    first = gradient(model, data)
    norm = torch.cat([g.flatten() for g in first.values()]).norm()
    second = gradient(model, data, {n: 0.3 * g / norm for n, g in first.items()})
    expected = cross_entropy(model(data[0]), data[1]).detach()
    assert torch.equal(optimizer.step(closure_of(model, optimizer, data)).detach(), expected)
    for value, moved, g in zip(before, values(model), second.values(), strict=True):
        torch.testing.assert_close(moved, value - 0.1 * g, rtol=1e-12, atol=1e-14)


def test_theta_comes_back_bit_for_bit_and_parts_of_a_batch_add_up():
    model, (x, y) = small(), batch()
    optimizer = SAM(model, sgd(model), rho=0.3)
    before = values(model)
    for part in (slice(0, 5), slice(5, 12)):
        cross_entropy(model(x[part]), y[part], reduction="sum").div(12).backward()
    optimizer.perturb()
    moved = values(model)
    assert not any(torch.equal(a, b) for a, b in zip(before, moved, strict=True))
    for part in (slice(0, 5), slice(5, 12)):
        cross_entropy(model(x[part]), y[part], reduction="sum").div(12).backward()
    optimizer.restore()
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))
    parts = [p.grad.clone() for p in model.parameters()]
    whole = SAM(model, torch.optim.SGD(model.parameters(), lr=0.0), rho=0.3)
    whole.step(closure_of(model, whole, (x, y)))
    for a, p in zip(parts, model.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-11, atol=1e-14)


def test_clipping_is_of_what_the_base_optimizer_sees():
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model), rho=0.3)
    closure = closure_of(model, optimizer, data)
    closure()
    optimizer.perturb()
    closure()
    optimizer.restore()
    before = values(model)
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.base.step()
    change = torch.cat([(a - b).flatten() for a, b in zip(before, values(model), strict=True)])
    assert float(change.norm()) == pytest.approx(0.1 * 1e-3, rel=1e-3)  # clip adds 1e-6 to norms


def test_running_statistics_are_those_of_the_first_pass():
    model, data = small(norm=True), batch()
    alone = small(norm=True)
    alone(data[0])
    optimizer = SAM(model, sgd(model), rho=5.0)
    optimizer.step(closure_of(model, optimizer, data))
    assert int(model[1].num_batches_tracked) == 1
    assert torch.equal(model[1].running_mean, alone[1].running_mean)
    assert torch.equal(model[1].running_var, alone[1].running_var)


def test_a_second_pass_that_fails_leaves_theta_where_it_was():
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model), rho=0.3)
    good, before, calls = closure_of(model, optimizer, data), values(model), []

    def failing():
        calls.append(1)
        if len(calls) == 2:
            raise OSError("no more data")
        return good()

    with pytest.raises(OSError, match="no more data"):
        optimizer.step(failing)
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


def test_frozen_parameters_and_those_without_a_gradient_stay():
    model, data = small(), batch()
    model[0].bias.requires_grad_(False)
    optimizer = SAM(model, sgd(model), rho=0.3)
    closure_of(model, optimizer, data)()
    before = model[0].bias.clone()
    optimizer.perturb()
    assert torch.equal(model[0].bias, before)
    optimizer.restore()


def test_state_and_groups_are_those_of_the_base_optimizer():
    model, data = small(), batch()
    base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = SAM(model, base)
    optimizer.step(closure_of(model, optimizer, data))
    other = SAM(model, torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9))
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.1
    assert other.base.state[model[0].weight]["momentum_buffer"].equal(
        base.state[model[0].weight]["momentum_buffer"]
    )


def test_what_is_out_of_order_is_refused():
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model))
    with pytest.raises(RuntimeError, match="perturb must follow a backward pass"):
        optimizer.perturb()
    with pytest.raises(RuntimeError, match="restore must follow perturb"):
        optimizer.restore()
    closure_of(model, optimizer, data)()
    optimizer.perturb()
    with pytest.raises(RuntimeError, match="perturb was called twice"):
        optimizer.perturb()


def test_a_gradient_that_is_not_finite_is_named_and_nothing_moves():
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model))
    closure_of(model, optimizer, data)()
    model[2].weight.grad[0, 0] = float("nan")
    before = values(model)
    with pytest.raises(FloatingPointError, match=r"the gradient of 2\.weight at θ is not finite"):
        optimizer.perturb()
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_second_gradient_that_is_not_finite_is_named_and_no_step_is_taken(by_hand):
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model))
    calls = []

    def closure():
        loss = closure_of(model, optimizer, data)()
        calls.append(loss)
        if len(calls) == 2:
            model[2].weight.grad[0, 0] = float("inf")
        return loss

    before = values(model)
    with pytest.raises(FloatingPointError, match=r"the gradient of 2\.weight at θ \+ δ is not fin"):
        if by_hand:
            closure()
            optimizer.perturb()
            closure()
            optimizer.restore()
        else:
            optimizer.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))
    assert all(p.grad is None for p in model.parameters())
    optimizer.step(closure)  # and it can go on
    assert not torch.equal(before[0], values(model)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: [1, 2], "δ must be tensors by parameters' names; got a list of int"),
        (lambda g: {**g, "2.bias": g["2.bias"][:1]}, r"δ must have a tensor of shape \(3,\) for 2"),
        (lambda g: {"0.weight": g["0.weight"]}, r"δ must have a tensor .* for 0\.bias; got None"),
        (lambda g: {**g, "new": g["2.bias"]}, "δ must have nothing for new; got"),
    ],
)
def test_a_delta_of_another_form_moves_nothing(change, message):
    model, data = small(), batch()
    optimizer = TwoPass(model, sgd(model), change)
    before = values(model)
    with pytest.raises((TypeError, ValueError), match=message):
        optimizer.step(closure_of(model, optimizer, data))
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))
    closure_of(model, optimizer, data)()
    with pytest.raises((TypeError, ValueError), match=message):
        optimizer.perturb()  # and not: called twice


@pytest.mark.parametrize("returned", [None, (torch.ones(()), 1), torch.ones(2), "loss"])
def test_a_closure_that_returns_no_loss_is_refused_before_anything_moves(returned):
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model))
    before = values(model)

    def closure():
        closure_of(model, optimizer, data)()
        return returned

    with pytest.raises(
        TypeError, match="closure must return the loss, a number or a tensor of one"
    ):
        optimizer.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


def test_gradients_of_other_parameters_are_cleared_too():
    model, data = small(), batch()
    optimizer = SAM(model, torch.optim.SGD(model[2].parameters(), lr=0.1))
    closure_of(model, optimizer, data)()
    first = model[0].weight.clone()
    optimizer.perturb()
    assert all(p.grad is None for p in model.parameters())
    optimizer.restore()
    assert torch.equal(model[0].weight, first)


def test_an_optimizer_that_needs_a_closure_is_refused():
    model = small()
    with pytest.raises(ValueError, match="must step without a closure; LBFGS does not"):
        SAM(model, torch.optim.LBFGS(model.parameters()))


def test_it_says_what_it_is():
    model = small()
    assert repr(SAM(model, sgd(model), rho=0.3)) == "SAM(rho=0.3, base=SGD)"
    assert repr(ASAM(model, sgd(model))) == "ASAM(rho=0.5, eta=0.01, base=SGD)"
    assert repr(TwoPass(model, sgd(model), dict)) == "TwoPass(base=SGD)"


def test_the_state_of_another_method_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which has its own words
    model = small()
    other = ASAM(model, sgd(model), rho=0.05)
    with pytest.raises(ValueError, match=r"method SAM there, ASAM here; eta None there, 0\.01"):
        other.load_state_dict(SAM(model, sgd(model)).state_dict())
    for state, got in [({}, r"got \[\]"), (3, "got int 3")]:
        with pytest.raises(ValueError, match=f"state must have the entries settings, base; {got}"):
            other.load_state_dict(state)


def test_one_loop_by_hand_does_for_all_methods():
    model, (x, y) = small(), batch()
    for optimizer in (SAM(model, sgd(model)), IGS(model, sgd(model))):
        optimizer.zero_grad()
        with optimizer.reading():
            cross_entropy(model(x), y).backward()
        optimizer.perturb()
        with pytest.raises(RuntimeError, match="must not come between perturb and restore"):
            optimizer.load_state_dict(optimizer.state_dict())
        cross_entropy(model(x), y).backward()
        optimizer.restore()
        optimizer.base.step()


def test_strangers_are_refused():
    model = small()
    with pytest.raises(ValueError, match="of parameters of model; 4 of its 4 are not"):
        TwoPass(model, sgd(small(1)), lambda gradients: {})


def one_of_two(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/met", rank=rank, world_size=2)
    try:
        model, (x, y) = small(), batch()
        wrapped = DistributedDataParallel(model)
        optimizer = SAM(wrapped, torch.optim.SGD(wrapped.parameters(), lr=0.1), rho=0.3)
        own = slice(6 * rank, 6 * rank + 6)
        for _ in range(2):
            optimizer.step(closure_of(wrapped, optimizer, (x[own], y[own])))
        if rank == 0:
            torch.save(values(model), folder / "values")
    finally:
        dist.destroy_process_group()


@pytest.mark.long
def test_two_processes_move_as_one(tmp_path):
    model, data = small(), batch()
    optimizer = SAM(model, sgd(model), rho=0.3)
    for _ in range(2):
        optimizer.step(closure_of(model, optimizer, data))
    mp.spawn(one_of_two, args=(tmp_path,), nprocs=2)
    for a, b in zip(torch.load(tmp_path / "values"), values(model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)

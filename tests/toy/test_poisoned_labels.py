"""Figure 5: the methods are what they are called, and the sentence is what the numbers say."""

import dataclasses
import json
import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

import igsref
from igsref.flat import flatten
from toy import poisoned_labels as toy

SEEDS, STEPS = 2, 3
SIZES = {"CLEAN": 9, "WRONG": 6, "TEST": 90, "POOL": 6, "GRID": 40}


def shrink(patch):
    for name, size in SIZES.items():
        patch.setattr(toy, name, size)


@pytest.fixture(scope="module")
def experiment():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return toy.experiment(SEEDS, STEPS)


@pytest.fixture
def small(monkeypatch):
    """The sizes of the experiment."""
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def trained():
    """A network after some steps of plain training, with its task and what the IGS is there."""
    task = toy.poisoned_task(torch.Generator().manual_seed(0))
    model = toy.perceptron(toy.WIDTHS, torch.nn.ReLU, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=toy.RATE)
    for _ in range(10):
        optimizer.zero_grad()
        cross_entropy(model(task.x), task.y).backward()
        optimizer.step()
    return model, task, igsref.exact_igs(model, (task.x, task.y))


def test_a_quarter_of_each_class_has_the_label_of_another(trained):
    task = trained[1]
    true = torch.arange(60) % 3
    assert len(task.x) == len(task.y) == 60
    assert torch.equal(task.wrong, task.y != true)
    assert torch.bincount(true[task.wrong]).tolist() == [5, 5, 5]
    assert torch.equal(task.test[1], torch.arange(3000) % 3)


def test_the_penalties_are_what_the_measure_says(trained):
    model, task, result = trained
    rounding = 2 * result.rounding_error + 1e-12 * result.value
    assert abs(float(toy.exact(model, task, 0.5).detach()) / 0.5 - result.value) <= rounding
    assert float(toy.ceiling(model, task, 0.5).detach()) == pytest.approx(
        0.5 * result.ceiling, rel=1e-12, abs=0
    )
    θ = parameters_to_vector(model.parameters()).detach()
    assert float(toy.weight_decay(model, task, 0.5).detach()) == pytest.approx(
        float(θ @ θ) / 4, rel=1e-12
    )


def test_a_pool_of_inputs_makes_the_penalty_smaller(trained):
    model, task, result = trained
    pool = igsref.as_geometry(model, (task.x, task.y), fisher_data=task.pool)
    found = float(toy.pooled(model, task, 1.0).detach())
    residuals = pool.problem.residuals()
    expected = pool.problem.weight * float(pool.sample_energy(residuals).sum())
    assert found == pytest.approx(expected, rel=1e-6, abs=0)
    share = found / (pool.problem.weight * result.ceiling)
    assert share < 0.9 * result.saturation


def test_the_direction_is_the_pseudo_inverse_times_the_gradient(trained):
    model, task, result = trained
    loss = cross_entropy(model(task.x), task.y)
    g = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
    x = flatten(toy.natural_gradient(model, task))
    F = igsref.fisher(model, (task.x, task.y))
    # Half of the digits: x is long, and rounding in F is multiplied by it.
    assert float((F @ x - g).norm()) < 2.0**-26 * float(g.norm())
    assert float(g @ x) == pytest.approx(result.full_batch.value, rel=2.0**-26)


def test_all_methods_start_at_one_network_and_go_their_own_ways(experiment):
    """All but two, whose ρ is the same: fifteen points saturate a network of this size."""
    outcome = experiment[1]
    assert list(outcome) == [method.name for method in toy.METHODS]
    for seed in range(SEEDS):
        runs = {name: outcome[name][seed] for name in outcome}
        assert len({float(run.train[0]) for run in runs.values()}) == 1
        assert all(len(run.train) == len(run.test) == STEPS + 1 for run in runs.values())
        assert runs["ceiling"].result.saturation == 1
        torch.testing.assert_close(
            runs["(12) exact"].train, runs["ceiling"].train, rtol=1e-9, atol=0
        )
        others = {float(run.train[-1]) for name, run in runs.items() if name != "ceiling"}
        assert len(others) == len(runs) - 1


def test_the_same_seed_gives_the_same_numbers_whatever_the_global_state(experiment, small):
    tasks, outcome = experiment
    state = torch.random.get_rng_state()
    torch.rand(())
    again = toy.train(toy.METHODS[1], toy.poisoned_task(torch.Generator().manual_seed(1)), 1, STEPS)
    torch.random.set_rng_state(state)
    assert torch.equal(again.train, outcome["(12) exact"][1].train)
    assert again.result == outcome["(12) exact"][1].result
    assert not torch.equal(tasks[0].x, tasks[1].x)


def test_plain_training_is_stopped_once_its_loss_is_as_low(experiment):
    plain = experiment[1]["plain"][0]
    assert toy.stopped(plain, float(plain.train[1])) == 1
    assert toy.stopped(plain, float(plain.train[0] + 1)) == 0
    assert toy.stopped(plain, float(plain.train.min()) - 1) == STEPS
    table = toy.figures(experiment[1])["plain"]
    assert table["early test"] == table["test loss"] and table["early gap"] == table["gap"]


def test_the_sentence_is_made_of_the_numbers():
    def row(gap, test, early):
        return {"gap": gap, "test loss": test, "early test": early}

    table = {
        "plain": row([0.5, 0.75], [1.0, 1.2], [1.0, 1.2]),
        "(12) exact": row([0.25, 1.0], [1.4, 1.4], [1.0, 1.1]),
        "weight decay": row([0.1, 0.1], [0.7, 0.7], [0.9, 0.8]),
    }
    said = toy.conclusion(table)
    assert (
        "in 1 of 2 seeds (mean change +0 ± 0.25); weight decay ends with the lowest mean test loss"
        in said
    )
    assert said.endswith("has a lower mean than (12) exact.")
    table["(12) exact"] = row([0.75, 1.0], [0.5, 0.5], [1.0, 1.0])
    said = toy.conclusion(table)
    assert (
        "in 0 of 2 seeds (mean change +0.25 ± 0); (12) exact ends with the lowest mean test loss"
        in said
    )
    assert said.endswith("has a lower mean than no method.")


def test_the_script_prints_its_table_and_writes_the_pictures(
    experiment, small, tmp_path, capsys, monkeypatch
):
    asked = []
    monkeypatch.setattr(toy, "experiment", lambda *options: asked.append(options) or experiment)
    folder = tmp_path / "new" / "folder"
    toy.main(["--output", str(folder), "--seeds", "2", "--steps", "3", "--processes", "1"])
    assert asked == [(2, 3, 1)]
    printed = capsys.readouterr().out
    for words in ("9 + 6 points", "3 steps of Adam", "over 2 seeds", "saturation", "of 2 seeds"):
        assert words in printed
    for method in toy.METHODS:
        assert f"\n{method.name:<14} {method.rho:>7g} " in printed
    stored = json.loads((folder / "figure5.json").read_text("utf-8"))
    assert stored["methods"] == toy.figures(experiment[1])
    assert list(stored["rhos"]) == list(stored["methods"])
    for name in ("boundaries", "losses"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "1"], "--seeds must lie in 2"),
        (["--seeds", "1001"], "to 1000; got 1001"),
        (["--steps", "1"], "--steps must be at least 2; got 1"),
        (["--processes", "0"], "--processes must be at least 1; got 0"),
        (["--steps", "many"], "--steps: must be a whole number; got 'many'"),
        (["--output", "{file}"], "--output must name a folder"),
    ],
)
def test_options_out_of_range_are_refused(options, message, capsys, tmp_path):
    file = tmp_path / "file"
    file.touch()
    folder = [] if "--output" in options else ["--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        toy.main([option.format(file=file) for option in options] + folder)
    assert message in capsys.readouterr().err


def test_the_share_of_wrong_labels_learnt_is_of_the_wrong_points_alone(trained):
    model, task, _ = trained
    run = toy.measured(model, task, torch.zeros(2, 2, dtype=torch.float64))
    with torch.no_grad():
        given = [int(model(x[None]).argmax()) for x in task.x]
    wrong = [k for k in range(60) if task.wrong[k]]
    assert run.learnt == sum(given[k] == int(task.y[k]) for k in wrong) / 15


def test_radii_are_chosen_by_test_loss_on_the_hidden_seeds(monkeypatch):
    seen = []

    def loss(method, seed, steps):
        seen.append((method.name, method.rho, seed))
        return abs(math.log10(method.rho) + 3) + (seed - 1000)

    monkeypatch.setattr(toy, "hidden_loss", loss)
    found = toy.hidden_losses(1, 5)
    assert {seed for *_, seed in seen} == {1000, 1001}
    assert list(found) == [method.name for method in toy.METHODS if method.rho]
    assert found["ceiling"][1e-3] == pytest.approx(0.5)  # of 0 and 1
    lines = toy.choice(found).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["0.001"] * 5


def test_a_radius_with_which_training_ends_early_is_not_chosen(small):
    method = toy.METHODS[3]
    assert toy.hidden_loss(dataclasses.replace(method, rho=1e300), 1000, 2) == math.inf


def test_the_script_can_show_the_choice(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        toy, "hidden_losses", lambda *_: {"ceiling": dict.fromkeys(toy.POWERS, 1.0)}
    )
    monkeypatch.setattr(toy, "experiment", lambda *_: pytest.fail("the run has started"))
    toy.main(["--choose", "--output", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[1].split() == ["ceiling", *["1.000"] * 7, "1e-06"]

"""Figure 4: leading eigenvectors carry a boundary through a sample, first-order steps nearly."""

import json

import pytest
import torch

import igsref
from toy.margins import (
    HALF_WIDTH,
    LEADING,
    SHOWN,
    TOP,
    decides,
    experiment,
    figures,
    grid,
    main,
    moved_logits,
    network,
    train,
)

SAMPLES = 30


@pytest.fixture(scope="module")
def outcome():
    return experiment(SAMPLES, seed=0)


def test_the_sample_is_correct_and_on_the_decision_boundary_after_each_exact_step(outcome):
    assert bool(outcome.margins.correct[outcome.sample])
    points = grid()[1]
    nearest = (points - outcome.x[outcome.sample]).norm(dim=1).topk(4, largest=False).indices
    assert tuple(panel.k for panel in outcome.panels) == SHOWN
    for panel in outcome.panels:
        # On the four points of the grid around it, the two largest logits are close to equal ...
        top = panel.after_exact[nearest].topk(2, dim=1).values
        close = float((top[:, 0] - top[:, 1]).min())
        before = outcome.logits[nearest].topk(2, dim=1).values
        # ... closer than they were at θ, where the sample has its gap.
        assert close < 0.5 * float((before[:, 0] - before[:, 1]).min())


def test_the_choice_of_the_sample_tells_who_decides(outcome):
    model = network(torch.Generator().manual_seed(0))
    problem = igsref.as_problem(model, (outcome.x, outcome.y))
    vectors = torch.eye(problem.num_parameters, dtype=torch.float64)
    # At an untrained θ and steps that are none of this network's, no two logits are equal.
    assert not any(decides(model, problem, vectors, outcome.exact, outcome.sample))


def test_steps_along_leading_eigenvectors_are_nearer_to_first_order_than_the_rest(outcome):
    first, rest = figures(outcome)["leading"]
    assert (first["from"], first["to"], rest["to"]) == (1, LEADING, TOP)
    assert first["within_10_percent"] > rest["within_10_percent"]
    assert first["never"] < rest["never"]


def test_the_first_order_parts_add_up_to_the_invariant_sum(outcome):
    # Eigenvalues down to 1e-16 of the largest, √ of which is what the vectors are known to.
    assert bool((outcome.parts > 0).all())
    torch.testing.assert_close(
        outcome.parts.sum(dim=1), torch.ones(SAMPLES, dtype=torch.float64), rtol=1e-5, atol=0
    )


def test_exact_steps_stay_within_the_limit(outcome):
    steps = outcome.exact.nearest
    assert float(steps[torch.isfinite(steps)].abs().max()) <= outcome.limit


def test_a_step_moves_the_network_and_leaves_the_model_where_it_was():
    model = network(torch.Generator().manual_seed(0))
    count = sum(p.numel() for p in model.parameters())
    last_bias = torch.zeros(count, dtype=torch.float64)
    last_bias[-3:] = torch.tensor([0.5, -1.0, 2.0])
    x = grid()[1][:9]
    before = moved_logits(model, 0 * last_bias, x)
    after = moved_logits(model, last_bias, x)
    torch.testing.assert_close(after - before, last_bias[-3:].expand_as(before), rtol=0, atol=1e-14)
    assert torch.equal(moved_logits(model, 0 * last_bias, x), before)


def test_training_lowers_the_loss():
    model = network(torch.Generator().manual_seed(0))
    x, y = torch.eye(3, 2, dtype=torch.float64), torch.arange(3)
    before, _ = (torch.nn.functional.cross_entropy(model(x), y), train(model, x, y))
    assert bool(torch.nn.functional.cross_entropy(model(x), y) < 0.1 * before)


def test_the_grid_runs_through_the_first_coordinate_fastest():
    axis, points = grid()
    assert torch.equal(points[: len(axis), 0], axis)
    assert (points[: len(axis), 1] == -HALF_WIDTH).all()


def test_the_script_prints_its_tables_and_writes_pictures_and_numbers(outcome, tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    torch.rand(())
    main(["--output", str(folder), "--samples", str(SAMPLES), "--seed", "0"])
    printed = capsys.readouterr().out
    for words in ("ReLU network, N = 30", "never cross", "along leading eigenvectors"):
        assert words in printed
    for name in ("margins", "first_order"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    numbers = json.loads((folder / "margins.json").read_text())
    assert numbers["samples"] == len(numbers["margins"]) == SAMPLES
    assert [step["k"] for step in numbers["steps"]] == list(SHOWN)
    # The same seed, the same numbers, whatever the global state.
    assert numbers == json.loads(json.dumps(figures(outcome)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "9"], "--samples: must be at least 30"),
        (["--samples", "many"], "--samples: must be a whole number; got 'many'"),
        (["--seed", "-1"], "--seed: must be from 0 to 2^63"),
    ],
)
def test_options_out_of_range_are_refused(options, message, capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        main([*options, "--output", str(tmp_path)])
    assert message in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "taken").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["--output", str(tmp_path / "taken")])
    assert "--output must name a folder" in capsys.readouterr().err

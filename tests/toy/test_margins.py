"""Figure 4: leading eigenvectors carry a boundary through a sample, first-order steps nearly."""

import json

import pytest
import torch

import igsref
from toy.gaussian_classes import grid, perceptron
from toy.margins import (
    GRID,
    LEADING,
    SHOWN,
    TOP,
    WIDTHS,
    decides,
    experiment,
    figures,
    main,
)

SAMPLES = 30


@pytest.fixture(scope="module")
def outcome():
    return experiment(SAMPLES, seed=0)


def test_the_sample_is_correct_and_on_the_decision_boundary_after_each_exact_step(outcome):
    assert bool(outcome.margins.correct[outcome.sample])
    points = grid(GRID)[1]
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
    model = perceptron(WIDTHS, torch.nn.ReLU, torch.Generator().manual_seed(0))
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

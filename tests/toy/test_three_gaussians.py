"""Figure 1: the leading eigenvectors of F move the decisions, the tenth hardly does."""

import pytest
import torch

from toy.three_gaussians import MOVED, PARAMETERS, SIZE, experiment, main

SAMPLES = 60


@pytest.fixture(scope="module")
def outcome():
    return experiment(SAMPLES, seed=0)


def test_the_network_has_the_parameters_of_the_paper(outcome):
    assert outcome.num_parameters == PARAMETERS == 5393
    assert outcome.result.num_parameters == outcome.result.full_num_parameters == 5393


def test_the_eigenvalues_fall_and_are_as_many_as_the_reduced_factor_has_rows(outcome):
    assert len(outcome.eigenvalues) == 2 * SAMPLES
    assert (outcome.eigenvalues[1:] <= outcome.eigenvalues[:-1]).all()


def test_the_first_two_eigenvectors_move_more_decisions_than_the_tenth(outcome):
    changed = {(step.k, step.size): step.changed for step in outcome.steps}
    assert set(changed) == {(k, size) for k in MOVED for size in (SIZE, -SIZE)}
    tenth = max(changed[10, SIZE], changed[10, -SIZE])
    assert min(changed[k, size] for k in (1, 2) for size in (SIZE, -SIZE)) > 2 * tenth


def test_the_quadratic_form_of_a_step_is_its_eigenvalue_over_eight(outcome):
    for step in outcome.steps:
        expected = SIZE**2 / 2 * float(outcome.eigenvalues[step.k - 1])
        assert step.quadratic == pytest.approx(expected, rel=1e-9, abs=0)


def test_the_training_leaves_the_igs_well_determined(outcome):
    assert outcome.result.rounding_error < 1e-6 * outcome.result.value


def test_the_same_seed_gives_the_same_numbers_whatever_the_global_state(outcome):
    state = torch.random.get_rng_state()
    torch.rand(())
    again = experiment(SAMPLES, seed=0)
    torch.random.set_rng_state(state)
    assert again.result == outcome.result
    assert torch.equal(again.eigenvalues, outcome.eigenvalues)
    assert [s.changed for s in again.steps] == [s.changed for s in outcome.steps]


def test_the_script_prints_its_tables_and_writes_the_picture(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    main(["--output", str(folder), "--samples", "20", "--seed", "1"])
    printed = capsys.readouterr().out
    for words in ("m = 5,393, N = 20", "decisions changed", "IGS      ", "rank of F"):
        assert words in printed
    assert (folder / "three_gaussians.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "three_gaussians.pdf").read_bytes().startswith(b"%PDF")

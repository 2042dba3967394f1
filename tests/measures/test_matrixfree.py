"""matrixfree_igs beside exact_igs: what is certain is certain, and converges to the same number."""

import itertools
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import jaxtyping
import pytest
import torch

import igsref
from igsref import exact_igs, matrixfree_igs
from igsref.geometry import checkpoint, krylov
from igsref.geometry.checkpoint import CheckpointError
from igsref.transforms.symmetries.node_scaling import draw_node_scaling


def perceptron(seed, *widths):
    torch.manual_seed(seed)
    pairs = itertools.pairwise(widths)
    layers = [layer for pair in pairs for layer in (torch.nn.Linear(*pair), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers[:-1]).double()


def convolutional(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()),
        *(torch.nn.Conv2d(4, 6, 3), torch.nn.GELU(), torch.nn.Flatten()),
        torch.nn.Linear(24, 3),
    ).double()
    model(torch.randn(50, 1, 6, 6, dtype=torch.float64))  # running statistics
    return model.eval()


def labelled(seed, samples, shape, classes):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, classes, (samples,), generator=generator)


def measured(model, data, **settings):
    """exact_igs, which may warn that float64 leaves the rank open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        return exact_igs(model, data, **settings)


WIDE = [((4, 12, 12, 3), 10), ((3, 12, 12, 4), 12), ((2, 10, 10, 2), 15)]
TALL = [((2, 5, 5, 3), 30), ((4, 5, 3), 40), ((3, 4, 4, 2), 50)]
SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("widths, samples", WIDE + TALL)
def test_bracket_contains_the_exact_value(widths, samples, seed):
    model = perceptron(seed, *widths)
    data = labelled(seed, samples, widths[:1], widths[-1])
    exact = measured(model, data)
    found = matrixfree_igs(model, data, tolerance=1e-6, heaviest=3, seed=seed, max_iterations=8)
    # What is exact is known to its own bracket only.
    assert 0 < found.lower <= exact.upper
    assert exact.value <= found.upper
    assert found.lower <= found.value <= found.upper <= found.ceiling * (1 + 1e-15)
    assert (found.per_sample <= exact.per_sample * (1 + 1e-7) + 1e-9 * exact.value).all()
    assert found.full_batch.lower <= exact.full_batch.upper


@pytest.mark.parametrize("widths, samples", WIDE[:2] + TALL[:2])
def test_all_samples_alone_converge_to_the_exact_value(widths, samples):
    model = perceptron(1, *widths)
    data = labelled(1, samples, widths[:1], widths[-1])
    exact = measured(model, data)
    found = matrixfree_igs(
        model, data, tolerance=1e-9, heaviest=samples, dtype=torch.float64, max_iterations=60
    )
    assert found.standard_error == 0
    # Directions below 64 eps of the largest are cut off: those of a trained network would count,
    # here none holds a millionth.
    assert found.value == pytest.approx(exact.value, rel=1e-6)
    assert found.lower == pytest.approx(found.value, rel=1e-9)  # less the estimated rounding
    torch.testing.assert_close(found.per_sample, exact.per_sample, rtol=1e-5, atol=1e-6)
    assert found.full_batch.value == pytest.approx(exact.full_batch.value, rel=1e-6)


def test_a_saturated_network_needs_a_probe_only():
    model, data = perceptron(0, 5, 16, 16, 3), labelled(0, 12, (5,), 3)
    exact = measured(model, data)
    assert exact.saturated
    found = matrixfree_igs(model, data, tolerance=1e-3, heaviest=0)
    assert found.reason == "ceiling"
    # Of one probe: what it misses is ‖(I − P̃)w‖², and every sample's part of that is in it but for
    # cross terms, whose standard deviation is no more than √2 of it.
    assert exact.value - found.value <= 1e-3 * exact.value
    assert found.standard_error <= 2**0.5 * 1e-3 * exact.ceiling
    assert found.history[-1].verified
    assert found.history[-1].number <= 12


def test_what_rounding_took_off_is_no_more_than_is_said():
    """Saturated, every direction found: all that is missing to the ceiling is rounding."""
    model, data = perceptron(0, 5, 16, 16, 3), labelled(0, 12, (5,), 3)
    settings = {"tolerance": 1e-15, "heaviest": 12, "dtype": torch.float64}
    found = matrixfree_igs(model, data, **settings)
    exact = measured(model, data)
    # Errors of 1e-13 a direction, σ_min of the right-hand sides' images near 0.1.
    assert found.rounding_error < 1e-9 * exact.value
    assert 0 < exact.value - found.value <= found.rounding_error + exact.rounding_error


def test_that_of_a_training_is_a_preconditioner_too(tmp_path):
    """With a normalisation between its layers, whose blocks come last then."""
    torch.manual_seed(0)
    linear = torch.nn.Linear
    model = torch.nn.Sequential(linear(4, 20), torch.nn.LayerNorm(20), torch.nn.Tanh())
    model.append(linear(20, 3)).double()
    data = labelled(0, 12, (4,), 3)
    ekfac = igsref.training.EKFAC(model)
    ekfac.update(data[0])
    exact = measured(model, data)
    settings = {"heaviest": 0, "tolerance": 1e-6, "dtype": torch.float64, "full_batch": False}
    path = tmp_path / "run"
    found = matrixfree_igs(
        model, data, preconditioner=ekfac.approximation(), checkpoint=path, **settings
    )
    assert found.reason == "ceiling"
    assert found.value == pytest.approx(exact.value, rel=1e-6)
    # Of use: its own number of steps is no larger than without.
    without = matrixfree_igs(model, data, preconditioner="none", **settings)
    assert found.history[-1].number <= without.history[-1].number
    ekfac.update(2 * data[0])
    for _ in range(10):
        ekfac.update(2 * data[0])
    with pytest.raises(CheckpointError, match="preconditioner: given"):
        matrixfree_igs(
            model, data, preconditioner=ekfac.approximation(), checkpoint=path, **settings
        )
    message = "preconditioner must be of the parameters 0.weight, 0.bias; got an Ekfac of 0.weight"
    other = torch.nn.Sequential(linear(4, 3)).double()
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        matrixfree_igs(other, data, preconditioner=ekfac.approximation())


@pytest.mark.parametrize("preconditioner", ["ekfac", "sketch", "none"])
@pytest.mark.parametrize("widths, samples", [WIDE[0], TALL[0]])
def test_no_preconditioner_changes_what_is_found(widths, samples, preconditioner):
    model = perceptron(6, *widths)
    data = labelled(6, samples, widths[:1], widths[-1])
    exact = measured(model, data)
    settings = {"heaviest": samples, "tolerance": 1e-9, "dtype": torch.float64}
    found = matrixfree_igs(model, data, preconditioner=preconditioner, **settings)
    assert found.value == pytest.approx(exact.value, rel=1e-6)
    assert found.preconditioner.lower().startswith(preconditioner)


@pytest.mark.parametrize("widths, samples", [WIDE[1], TALL[1]])
def test_a_sketch_is_of_use_in_either_dtype(widths, samples):
    model, data = perceptron(3, *widths), labelled(3, samples, widths[:1], widths[-1])
    exact = measured(model, data)
    settings = {"heaviest": samples, "tolerance": 1e-6, "preconditioner": "sketch"}
    for dtype, off in [(None, 1e-6), (torch.float32, 1e-2)]:
        found = matrixfree_igs(model, data, dtype=dtype, **settings)
        assert exact.value * (1 - off) <= found.value <= exact.value * (1 + 1e-9)


@pytest.mark.parametrize("widths, samples", [WIDE[0], TALL[0]])
def test_the_mean_gradient_may_go_without_a_right_hand_side(widths, samples):
    model, data = perceptron(2, *widths), labelled(2, samples, widths[:1], widths[-1])
    exact = measured(model, data)
    settings = {"tolerance": 1e-3, "heaviest": 0, "preconditioner": "none"}
    with_it = matrixfree_igs(model, data, **settings)
    without = matrixfree_igs(model, data, full_batch=False, **settings)
    first, second = (found.history[0] for found in (with_it, without))
    assert (first.products, second.products) == (2 * first.number, second.number)
    # A probe alone is a Krylov space of its own; its value is not far from that of both.
    assert without.lower <= exact.upper
    assert without.value == pytest.approx(with_it.value, rel=0.2)
    # Whatever was found for the probe holds something of the mean gradient too, and no more.
    assert 0 < without.full_batch.lower <= exact.full_batch.upper
    assert without.full_batch.lower < with_it.full_batch.lower


def test_a_run_that_has_found_everything_has_nothing_to_come():
    model, data = perceptron(0, 3, 4, 2), labelled(0, 40, (3,), 2)
    found = matrixfree_igs(model, data, heaviest=40, tolerance=1e-300)
    assert found.reason == "invariant"
    assert found.history[-1].number < 5
    assert found.estimated_gap == 0


def test_a_run_goes_on_with_the_preconditioner_it_began_with(tmp_path):
    model, data = perceptron(0, 4, 5, 3), labelled(0, 60, (4,), 3)
    first = matrixfree_igs(model, data, max_iterations=2, checkpoint=tmp_path / "run")
    assert first.preconditioner.startswith("sketch")
    again = matrixfree_igs(model, data, checkpoint=tmp_path / "run", max_seconds=60.0)
    whole = matrixfree_igs(model, data)
    assert again.preconditioner == first.preconditioner
    assert again.value == whole.value
    # EKFAC, which a hurried or narrow run would take, is not taken on the way.
    hurried = matrixfree_igs(model, data, checkpoint=tmp_path / "run", max_seconds=1e-3)
    assert hurried.preconditioner == first.preconditioner
    assert "EKFAC" in matrixfree_igs(model, data, max_seconds=1e-3).preconditioner


def test_a_sketch_is_the_same_in_other_parameters():
    model, data = perceptron(4, 3, 6, 6, 3), labelled(4, 80, (3,), 3)
    scaled = draw_node_scaling(model, torch.Generator().manual_seed(0), 1.0)
    settings = {"heaviest": 2, "seed": 7, "max_iterations": 6, "tolerance": 1e-300}
    before, after = (matrixfree_igs(m, data, **settings) for m in (model, scaled))
    assert before.preconditioner.startswith("sketch")
    assert before.value < 0.999 * before.ceiling
    assert before.value == pytest.approx(after.value, rel=1e-9)


def test_tall_problems_are_sketched_where_that_fits():
    model, data = perceptron(0, 4, 5, 3), labelled(0, 60, (4,), 3)
    found = matrixfree_igs(model, data, tolerance=1e-3)
    assert "sketch of 86 rows, cut at" in found.preconditioner
    assert found.preconditioner in str(found)
    rows = matrixfree_igs(model, data, memory=100_000)  # less than a block of rows
    assert "EKFAC" in rows.preconditioner
    with pytest.raises(MemoryError, match=r"a sketch of 86 rows × 43 parameters"):
        matrixfree_igs(model, data, memory=100_000, preconditioner="sketch")


def trained_tall():
    """18 × m rows, trained: singular values fall to rounding, and EKFAC is of little help."""
    model, (x, _) = perceptron(0, 4, 8, 4), labelled(0, 450, (4,), 4)
    y = (x.abs() @ torch.tensor([1.0, -1.0, 0.5, 0.3]).double()).round().long() % 4
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=60)

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(model(x), y)
        value.backward()
        return value

    optimizer.step(loss)
    return model, (x, y)


def test_a_sketch_takes_fewer_steps_than_ekfac_on_a_trained_tall_network():
    model, data = trained_tall()
    exact = measured(model, data)
    assert exact.saturation < 0.9
    settings = {"heaviest": 0, "tolerance": 1e-300, "max_iterations": 12, "dtype": torch.float64}
    sketched, others = (
        matrixfree_igs(model, data, preconditioner=kind, **settings) for kind in ("sketch", "ekfac")
    )

    def missing(found):
        """Of the part of the probe that is in the range, at each step, by the last of the two."""
        return [max(sketched.value, others.value) - step.value for step in found.history]

    assert min(missing(sketched)) < 1e-3 * exact.value
    reached = [
        next(i for i, m in enumerate(missing(f)) if m < 1e-2 * exact.value or i == 11)
        for f in (sketched, others)
    ]
    assert reached[0] < reached[1]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_other_likelihoods(likelihood):
    model, (x, _) = perceptron(3, 3, 8, 2), labelled(3, 14, (3,), 2)
    y = torch.rand(14, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = measured(model, (x, y), likelihood=likelihood)
    found = matrixfree_igs(
        model, (x, y), likelihood=likelihood, heaviest=14, tolerance=1e-9, dtype=torch.float64
    )
    assert found.value == pytest.approx(exact.value, rel=1e-6)


def test_a_pool_and_a_convolutional_network():
    model, data = convolutional(0), labelled(0, 12, (1, 6, 6), 3)
    pool = labelled(1, 30, (1, 6, 6), 3)[0]
    exact = measured(model, data, fisher_data=pool)
    found = matrixfree_igs(model, data, fisher_data=pool, heaviest=12, tolerance=1e-7)
    assert found.pool_size == exact.pool_size == 42
    assert found.lower <= exact.upper
    assert found.value == pytest.approx(exact.value, rel=1e-3)


def test_probes_are_unbiased_within_their_standard_error():
    model, data = perceptron(2, 2, 6, 6, 3), labelled(2, 40, (2,), 3)
    exact = measured(model, data)
    settings = {"heaviest": 0, "tolerance": 1e-9, "dtype": torch.float64, "max_iterations": 40}
    found = matrixfree_igs(model, data, probes=12, **settings)
    assert exact.saturation < 0.99
    assert 0 < found.standard_error < 0.2 * exact.value
    assert abs(found.value - exact.value) <= 4 * found.standard_error
    assert found.lower <= exact.upper


def test_a_network_without_a_derivative_has_an_igs_of_nothing():
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3, bias=False)
    ).double()
    model[0].bias.data.fill_(-100.0)
    found = matrixfree_igs(model, labelled(0, 9, (3,), 3))
    assert (found.lower, found.value, found.rank) == (0.0, 0.0, 0)
    assert found.upper == found.ceiling > 0
    assert found.reason == "invariant"


def test_the_same_seed_gives_the_same_estimate_in_other_parameters():
    model, data = perceptron(4, 3, 10, 10, 3), labelled(4, 12, (3,), 3)
    scaled = draw_node_scaling(model, torch.Generator().manual_seed(0), 1.0)
    settings = {"tolerance": 1e-8, "heaviest": 2, "seed": 7, "dtype": torch.float64}
    before, after = (matrixfree_igs(m, data, **settings) for m in (model, scaled))
    assert before.value == pytest.approx(after.value, rel=1e-6)


def test_json_round_trip_and_text():
    model, data = perceptron(0, 4, 8, 3), labelled(0, 10, (4,), 3)
    found = matrixfree_igs(model, data, heaviest=2)
    again = igsref.Result.from_json(found.to_json())
    assert again == found
    assert again.history == found.history
    assert "krylov" in str(found)
    assert "over random signs" in str(found)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"tolerance": 0.0}, "tolerance must be finite and positive; got 0"),
        ({"tolerance": float("nan")}, "tolerance must be finite and positive; got nan"),
        ({"max_seconds": -1.0}, "max_seconds must be positive"),
        ({"heaviest": -1}, "heaviest must be at least 0"),
        ({"probes": 0}, "probes must be at least 1"),
        ({"max_iterations": 0}, "max_iterations must be at least 1"),
        ({"dtype": torch.float16}, r"dtype must be torch\.float32 or torch\.float64"),
        (
            {"preconditioner": "kfac"},
            "preconditioner must be one of ekfac, sketch, none, or an Ekfac; got 'kf",
        ),
        ({"memory": 0}, "memory, in bytes, must be at least 1"),
        ({"checkpoint": "/no/such/folder/run"}, "must name a file in a folder"),
        ({"full_batch": "no"}, "full_batch must be a bool; got str 'no'"),
    ],
)
def test_bad_settings_are_named(settings, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, data = perceptron(0, 4, 8, 3), labelled(0, 10, (4,), 3)
    with pytest.raises((TypeError, ValueError), match=words):
        matrixfree_igs(model, data, **settings)


KILLED = (perceptron(0, 3, 20, 20, 4), labelled(0, 30, (3,), 4))
SETTINGS = {"tolerance": 1e-5, "heaviest": 0}


def test_what_does_not_fit_is_refused_before_any_derivative(monkeypatch):
    model, data = perceptron(0, 4, 8, 3), labelled(0, 10, (4,), 3)
    monkeypatch.setattr("igsref.geometry.preconditioner.ekfac", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(MemoryError, match=r"11 right-hand sides and 67 parameters needs 46\.1 KiB"):
        matrixfree_igs(model, data, memory=10_000)


def test_what_does_not_fit_any_longer_ends_the_run():
    model, data = perceptron(0, 3, 20, 20, 4), labelled(0, 30, (3,), 4)
    whole = matrixfree_igs(model, data, tolerance=1e-5, heaviest=0)
    part = matrixfree_igs(model, data, tolerance=1e-5, heaviest=0, memory=200_000)
    assert part.reason == "memory"
    assert 3 <= part.history[-1].number < whole.history[-1].number
    assert part.value < whole.value


def test_an_interrupted_run_says_how_far_it_came(monkeypatch):
    model, data = perceptron(0, 3, 20, 20, 4), labelled(0, 30, (3,), 4)
    monkeypatch.setattr(krylov, "_CLEAR", 0.0)
    steps = iter(range(8))  # of which six are the pilot, with weights and without
    true = krylov.extended

    def interrupted(*arguments):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return true(*arguments)

    monkeypatch.setattr(krylov, "extended", interrupted)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 5 steps"):
        matrixfree_igs(model, data, tolerance=1e-9, heaviest=0, dtype=torch.float64)


RUN = """
import sys, time
import torch
from igsref import matrixfree_igs
from igsref.geometry import checkpoint
from tests.measures.test_matrixfree import KILLED, SETTINGS

torch.set_num_threads(1)
save = checkpoint.Checkpoint.save

def told(self, state):
    save(self, state)
    print(len(state.steps), flush=True)
    time.sleep(60)

checkpoint.Checkpoint.save = told
matrixfree_igs(*KILLED, **SETTINGS, checkpoint=sys.argv[1])
"""


@pytest.mark.long
def test_a_killed_run_ends_with_the_same_number(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SHARE", 0.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "run"
    command = [sys.executable, "-c", RUN, str(path)]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert killed.stdout is not None
    reached = int(killed.stdout.readline())
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = matrixfree_igs(*KILLED, **SETTINGS)
        resumed = matrixfree_igs(*KILLED, **SETTINGS, checkpoint=path)
    finally:
        torch.set_num_threads(threads)
    assert reached < whole.history[-1].number
    assert resumed.value == whole.value
    assert resumed.per_sample.equal(whole.per_sample)
    timeless = [
        [replace(step, seconds=0.0) for step in result.history] for result in (whole, resumed)
    ]
    assert timeless[0] == timeless[1]


def test_blocks_of_vectors_come_back_from_a_file_in_their_own_order(tmp_path):
    """Column by column products round in another way: seen with 382 parameters, 21 columns."""
    model, data = perceptron(0, 20, 12, 10), labelled(0, 60, (20,), 10)
    settings = {"heaviest": 20, "tolerance": 1e-9, "preconditioner": "none", "seed": 3}
    whole = matrixfree_igs(model, data, max_iterations=8, **settings)
    path = tmp_path / "run"
    matrixfree_igs(model, data, max_iterations=4, checkpoint=path, **settings)
    again = matrixfree_igs(model, data, max_iterations=8, checkpoint=path, **settings)
    assert again.value == whole.value
    assert again.per_sample.equal(whole.per_sample)


def test_text_says_what_is_still_to_come_and_whose_shares_are_shown():
    model, data = perceptron(0, 4, 8, 3), labelled(0, 10, (4,), 3)
    found = matrixfree_igs(model, data, heaviest=10, max_iterations=1, tolerance=1e-12)
    assert found.standard_error == 0
    assert "still to come" in str(found)
    assert "of the lower end" in str(found)
    assert "at least" in str(found)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    model, data = perceptron(0, 4, 8, 3), labelled(0, 10, (4,), 3)
    path = tmp_path / "run"
    matrixfree_igs(model, data, checkpoint=path)
    with pytest.raises(CheckpointError, match="seed: 0 there, 1 here"):
        matrixfree_igs(model, data, checkpoint=path, seed=1)
    with torch.no_grad():
        model[0].weight[0, 0] += 1.0
    with pytest.raises(CheckpointError, match="parameters"):
        matrixfree_igs(model, data, checkpoint=path)


def test_a_recurrence_that_lies_is_found_out(monkeypatch):
    """Images that are half wrong promise a ceiling; A X, multiplied out afresh, tells."""
    model, data = perceptron(0, 5, 16, 16, 3), labelled(0, 12, (5,), 3)
    exact = measured(model, data)
    true = krylov.extended

    def lying(space, normal, tolerance):
        def wrong(vectors):
            images, back = normal(vectors)
            noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
            return images + noise.double() * images.norm(dim=0), back

        return true(space, wrong, tolerance)

    monkeypatch.setattr(krylov, "extended", lying)
    found = matrixfree_igs(model, data, heaviest=12, tolerance=1e-3, max_iterations=3)
    assert not found.history[-1].verified or found.history[-1].missing > 0
    assert found.value <= exact.value * (1 + 1e-9)
    assert found.history[-1].value <= found.history[-2].value

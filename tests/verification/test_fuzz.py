"""The fuzzing in short, the same inputs in each run, and that it catches what must not happen."""

import pickle
import signal
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import jaxtyping
import pytest
import torch

import igsref
from verification import fuzz
from verification.fuzzing import files, recipes, verdict
from verification.fuzzing.changes import BROKEN, ODD
from verification.fuzzing.command_line import Line
from verification.fuzzing.files import PACKAGE_DATA, FileRecipe
from verification.fuzzing.recipes import Recipe
from verification.fuzzing.subjects import NETWORKS

VECTOR = min(path.stem for path in PACKAGE_DATA.glob("*.json"))
FILES = FileRecipe(VECTOR, 0)
RIGHT = igsref.exact_igs
EXACT = igsref.certify
MANY = {"calls": 25, "files": 50, "lines": 40}


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch):
    """Without the annotations that pytest executes: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def words(tally):
    return [found for found, _ in tally.violations.values()]


@pytest.mark.parametrize("kind", MANY)
def test_no_input_of_a_fixed_run_does_what_it_must_not(kind):
    tally = fuzz.Tally(MANY[kind])
    fuzz.fuzz(kind, tally, None)
    assert not words(tally)
    assert len(tally.seen) > MANY[kind] // 3  # some are drawn twice, some cannot be built
    # What lines come out as other than exit code 2 takes long, and is drawn by the long run.
    assert len(tally.kinds) > (1 if kind != "lines" else 0)


FOUND = {
    "more digits than Python reads back": ("tanh", "zero network"),
    "an upper end above the ceiling": ("relu", "each sample twice"),
    "a rank bound below the rank, in balls": ("tanh", "rank_bound zero"),
    "a rank bound below the rank, in rationals": ("relu", "rank_bound one"),
    "a parameter that no layer uses": ("relu", "unused parameter"),
    "a parameter without entries": ("relu", "zero-size parameter"),
}
"""What an earlier run found, and what was wrong then."""


@pytest.mark.parametrize(("network", "change"), FOUND.values(), ids=FOUND)
def test_what_was_found_once_is_right_now(network, change):
    found = recipes.tried(Recipe(network, 1, (change,)))
    assert set(found) == set(recipes.CALLS)
    assert not [outcome.wrong for outcome in found.values() if outcome.wrong]


def test_logits_that_overflow_when_perturbed_leave_everything_open():
    """The largest weight there is: an evaluation beside it is not finite, and bounds were NaN."""
    changes = ("spectral norm", "softmax inside", "largest weight")
    found = recipes.tried(Recipe("linear", 31, changes))["exact_igs"]
    assert (found.kind, found.wrong) == (verdict.ACCEPTED, ())
    assert found.value.upper == float("inf")


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_taken_as_it_is(network):
    found = recipes.tried(Recipe(network, 1))
    assert found["exact_igs"].kind == verdict.ACCEPTED
    assert not [outcome.wrong for outcome in found.values() if outcome.wrong]


def test_what_a_change_draws_does_not_depend_on_the_others():
    def weights(*changes):
        return torch.cat(
            [p.flatten() for p in Recipe("relu", 3, changes).subject().model.parameters()]
        )

    alone, beside = weights("denormal weight"), weights("inputs NaN", "denormal weight")
    assert torch.equal(alone, beside)
    assert not torch.equal(alone, weights())


def test_a_change_that_has_nothing_to_work_on_is_no_input():
    assert recipes.tried(Recipe("relu", 0, ("nothing", "NaN weight"))) == {}


def planted(monkeypatch, fake):
    """What the smallest run says of a library whose exact_igs is another function."""
    monkeypatch.setattr(igsref, "exact_igs", fake)
    tally = fuzz.Tally(1)
    tally.add(Recipe("relu", 1, ("identity",)))
    return tally


def raising(error):
    def fake(*arguments, **options):
        raise error

    return fake


def changed(**values):
    return lambda *arguments, **options: replace(RIGHT(*arguments, **options), **values)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("weight"), "is no named refusal"),
        (RuntimeError("data"), "is no named refusal"),
        (IndexError("data"), "is no named refusal"),
        (ZeroDivisionError("data"), "is no named refusal"),
        (ValueError("data"), "is not raised by igsref itself"),
        (ValueError(""), "names no argument"),
        (ArithmeticError("internal error: data"), "says that the library is wrong"),
    ],
)
def test_an_exception_that_is_no_refusal_is_caught(monkeypatch, error, words):
    found = planted(monkeypatch, raising(error))
    assert any(words in said for said, _ in found.violations.values())
    # The change is not needed to show it.
    assert {recipe for _, recipe in found.violations.values()} == {Recipe("relu", 1)}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"upper": 1.0}, "lower ≤ value ≤ upper ≤ ceiling"),
        ({"ceiling": 1.0}, "lower ≤ value ≤ upper ≤ ceiling"),
        ({"lower": -1.0}, "lower ≤ value ≤ upper ≤ ceiling"),
        ({"value": float("nan")}, "value is nan"),
        ({"loss": float("inf")}, "loss is inf"),
        ({"margin": float("nan")}, "margin is NaN"),
        ({"rounding_error": float("nan")}, "rounding_error is NaN"),
        ({"rank_lower": 99}, "rank_lower ≤ rank_upper"),
        ({"per_sample": torch.full((5,), float("nan")).double()}, "is not finite"),
        ({"per_sample": torch.full((5,), 1e9).double()}, "per_sample ≤ sample_ceiling"),
        ({"per_sample": torch.zeros(5).double()}, "of per_sample is outside"),
        ({"full_batch": igsref.Enclosure(1e9, 1e9, 1e9, "verified")}, "0 ≤ G ≤ IGS"),
        ({"rank_lower": 0, "rank_upper": 0}, "the exact rank 10 is outside"),
        ({"lower": 0.0, "value": 0.0, "upper": 0.5}, "IGS: float64's bracket"),
    ],
)
def test_a_result_that_cannot_be_is_caught(monkeypatch, values, words):
    found = planted(monkeypatch, changed(**values))
    assert any(words in said for said, _ in found.violations.values())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"igs": igsref.Decimals("-2", "-1")}, "a negative IGS"),
        ({"igs": igsref.Decimals("900", "901")}, "lower ≤ upper ≤ ceiling"),
        ({"full_batch": igsref.Decimals("900", "901")}, "exceeds IGS"),
        ({"per_sample": (igsref.Decimals("900", "901"),) * 5}, "per_sample ≤ sample_ceiling"),
    ],
)
def test_a_certified_result_that_cannot_be_is_caught(monkeypatch, values, words):
    monkeypatch.setattr(igsref, "certify", lambda *a, **o: replace(EXACT(*a, **o), **values))
    found = recipes.tried(Recipe("relu", 1))["certify"]
    assert any(words in said for said in found.wrong)


def test_a_mistake_that_one_refuses_and_the_other_takes_is_caught(monkeypatch):
    assert not recipes.tried(Recipe("relu", 1, ("rank_bound one",)))["certify"].wrong
    blind = Recipe("relu", 1)
    monkeypatch.setattr(igsref, "certify", lambda *_, **__: EXACT(*blind.subject().arguments()[0]))
    (wrong,) = recipes.tried(Recipe("relu", 1, ("rank_bound one",)))["certify"].wrong
    assert wrong.startswith("certify takes what exact_igs refuses: rank_bound=1")


def test_a_call_that_does_not_end_is_caught(monkeypatch):
    monkeypatch.setattr(verdict, "SLOW", 0.2)
    found = planted(monkeypatch, lambda *_, **__: signal.pause())
    assert words(found) == ["any: it took more than 0.2 s"]


def unpickle(directory):
    """A reader as there must be none."""
    for path in Path(directory).iterdir():
        for reader in (pickle.loads, lambda data: torch.load(BytesIO(data), weights_only=False)):
            with suppress(Exception):
                reader(path.read_bytes())
    raise igsref.vectors.VectorError("json")


@pytest.mark.parametrize("change", ["pickle", "pickle of torch"])
def test_unpickling_is_caught(monkeypatch, change):
    recipe = FileRecipe(VECTOR, 0, (change,))
    assert not files.read(recipe)["load"].wrong
    monkeypatch.setattr(files.vectors, "load", unpickle)
    assert files.read(recipe)["load"].wrong == ("something was unpickled",)


def test_a_command_that_breaks_off_is_caught(monkeypatch):
    line = Line(("vectors", "list", "DIR"), FILES)
    assert {o.kind: o.wrong for o in fuzz.judged(line).values()} == {"exit code 0": ()}
    monkeypatch.setattr("igsref.vectors.load", raising(KeyError("json")))
    (found,) = fuzz.judged(line).values()
    assert any(said.startswith("a traceback: KeyError('json')") for said in found.wrong)


def test_a_report_counts_and_its_recipes_can_be_repeated(monkeypatch, capsys):
    tally = planted(monkeypatch, raising(KeyError("weight")))
    text = fuzz.report({"calls": tally})
    assert text.splitlines()[1].split() == ["exact_igs", "KeyError", "1"]
    assert text.endswith("inputs: 1 calls; violations: 1")
    recipe = text.splitlines()[-2].strip()
    assert recipe == "Recipe(network='relu', seed=1, changes=())"
    assert fuzz.main(["--repeat", recipe]) == 0
    assert "violation: KeyError(\"'weight'\")" in capsys.readouterr().out


def test_a_run_fails_where_there_is_a_violation(monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "SHARES", {"calls": 1.0})
    assert fuzz.main(["--inputs", "3", "--seed", "5"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("seed 5\n")
    assert "inputs: 3 calls; violations: 0" in first
    assert fuzz.main(["--inputs", "3", "--seed", "5"]) == 0
    assert capsys.readouterr().out == first
    monkeypatch.setattr(igsref, "exact_igs", raising(KeyError("weight")))
    assert fuzz.main(["--inputs", "3", "--seed", "5"]) == 1


def test_fewer_than_one_input_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        fuzz.main(["--inputs", "0"])
    assert "--inputs must be at least 1; got 0" in capsys.readouterr().err


def test_a_change_has_one_name():
    assert not set(ODD) & set(BROKEN)

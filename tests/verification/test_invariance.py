"""The long run of the law, in short: its tallies, its report, and that it fails where it must."""

import pytest

from igsref.measures.registry import MEASURES, SHARPNESS
from igsref.testing import TRANSFORMATIONS, Case, Deviation
from verification import invariance

CASE = Case("tanh perceptron", 1, "permutation", 2, 0.5)
HOLDS = Deviation(8.0, 8.5, 1.0, 0.0)
BROKEN = Deviation(8.0, 12.0, 1.0, 0.25)


def tally(*seen: Deviation | None) -> invariance.Tally:
    found = invariance.Tally()
    for one in seen:
        found.add(CASE, one)
    return found


class InThisProcess:
    """A pool that is none, so that what is patched here is patched there."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, function, jobs, chunksize=1):
        return map(function, jobs)


def test_a_tally_keeps_counts_and_the_worst():
    warned = Deviation(8.0, 9.0, 1.0, 0.0, stated=1.0)
    found = tally(HOLDS, BROKEN, None, Deviation(8.0, 8.0, 0.0, 0.0))
    assert (found.count, found.refused) == (3, 1)
    assert (found.worst, found.strained, found.apart) == (0.5, 4.0, 0.25)
    assert found.broken == [CASE]
    assert tally(HOLDS, warned).sure == 0.0625 < tally(HOLDS, warned).worst


def test_a_report_has_a_line_for_each_and_code_for_what_is_broken():
    text = invariance.report(
        {("IGS", "permutation"): tally(HOLDS), ("Tr(H)", "permutation"): tally(BROKEN)}
    )
    head, igs, trace, broken = text.splitlines()
    assert head.split()[:4] == ["measure", "transformation", "pairs", "refused"]
    assert igs.split()[:4] == ["IGS", "permutation", "1", "0"]
    assert igs.split()[4:] == ["6.2e-02", "6.2e-02", "5.0e-01", "0.0e+00", "0"]
    assert trace.split()[-1] == "1"
    assert broken == (
        "broken: igsref.testing.check(igsref.MEASURES['Tr(H)'].compute, igsref.testing.Case("
        "family='tanh perceptron', network_seed=1, transformation='permutation', seed=2, "
        "strength=0.5))"
    )


def test_all_pairs_are_asked_for():
    todo = invariance.all_tasks(28, 10, seed=0)
    igs = [task for task in todo if task.measure == "IGS"]
    assert sum(len(task.cases) for task in igs) >= 28
    assert {case.transformation for task in igs for case in task.cases} == set(TRANSFORMATIONS)
    for name, measure in SHARPNESS.items():
        cases = [case for task in todo if task.measure == name for case in task.cases]
        if name == "IGS":
            continue
        assert len(cases) >= 10
        kinds = {TRANSFORMATIONS[case.transformation].kind for case in cases}
        assert kinds == (measure.promised or {"permutation"})
    for task in todo:
        assert len({case.network_seed for case in task.cases}) == 1
    assert todo == invariance.all_tasks(28, 10, seed=0) != invariance.all_tasks(28, 10, seed=1)


def test_deviations_are_those_of_the_cases_and_none_where_a_measure_is_not_defined():
    (task,) = invariance.tasks("IGS", "permutation", 5, seed=3)
    seen = invariance.deviations(task)
    assert len(seen) == len(task.cases) == invariance.PER_NETWORK
    assert all(found is not None and found.holds for found in seen)
    assert invariance.deviations(invariance.Task("path norm", (CASE,))) == [None]


def test_a_run_of_few_pairs_passes(monkeypatch, capsys):
    monkeypatch.setattr(invariance, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(invariance, "TRANSFORMATIONS", {"permutation": None, "sign flip": None})
    monkeypatch.setattr(invariance, "SHARPNESS", {})
    assert invariance.main(["--pairs", "10", "--baseline-pairs", "1", "--seed", "7"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("seed 7\n")
    assert "IGS: 10 pairs, worst |Δ|/value" in printed
    assert "broken in all: 0" in printed


def test_a_broken_igs_is_told_and_fails_the_run(monkeypatch, capsys):
    monkeypatch.setattr(invariance, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(invariance, "TRANSFORMATIONS", {"node scaling": None})
    monkeypatch.setattr(invariance, "SHARPNESS", {})
    frobenius = MEASURES["Frobenius norm"].compute
    monkeypatch.setattr(invariance.igsref, "exact_igs", frobenius)
    assert invariance.main(["--pairs", "5", "--baseline-pairs", "1", "--seed", "7"]) == 1
    broken = [line for line in capsys.readouterr().out.splitlines() if line.startswith("broken: ")]
    assert broken
    scope = {"igsref": invariance.igsref}
    with pytest.raises(AssertionError, match="node scaling moved the measure"):
        eval(broken[0].removeprefix("broken: "), scope)


def test_a_worker_of_its_own_says_the_same():
    todo = invariance.tasks("gradient norm", "permutation", 5, seed=1)
    (found,) = invariance.run(todo, workers=1).values()
    here = tally(*invariance.deviations(todo[0]))
    assert (found.count, found.worst, found.broken) == (here.count, here.worst, [])


@pytest.mark.parametrize("name", ["--pairs", "--baseline-pairs", "--workers"])
def test_numbers_below_one_are_refused(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        invariance.arguments([name, "0"])
    assert f"{name} must be at least 1; got 0" in capsys.readouterr().err

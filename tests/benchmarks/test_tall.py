"""The sketch, EKFAC and the dense route find the same number of a small tall network."""

import pytest

import igsref
from benchmarks import tall


def test_routes_agree():
    data = tall.images("synthetic", 120)
    problem = igsref.as_problem(tall.trained(data, 2, epochs=1), data)
    assert problem.num_rows > problem.num_parameters
    dense, *others = tall.measured(problem, 2**30, limit=30)
    assert (dense.name, dense.shares) == ("dense", {0: 1.0})
    assert [found.name for found in others] == ["sketch", "ekfac"]
    sketch, ekfac = ([*found.shares.values()][-1] for found in others)
    # To 1e-3 of the ceiling, or of the last steps' gain, and never above.
    assert 0.98 < sketch <= 1 + 1e-9
    assert 0.5 < ekfac <= 1 + 1e-9


def test_a_small_run_prints_a_table(capsys):
    tall.main(["--data", "synthetic", "--samples", "80", "--hidden", "2", "--epochs", "1"])
    out = capsys.readouterr().out
    assert "plan: dense: reduced factor 720 × 424" in out
    assert "sketched, an estimate" in out


@pytest.mark.parametrize("sizes", ["--samples 10 --hidden 50", "--samples 80 --hidden 0"])
def test_what_is_not_tall_is_refused(sizes, capsys):
    with pytest.raises(SystemExit):
        tall.main(["--data", "synthetic", *sizes.split()])
    assert "must outnumber" in capsys.readouterr().err

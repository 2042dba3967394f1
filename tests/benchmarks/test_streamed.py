"""The streamed benchmark runs, streams where it says so, and agrees with the route in memory."""

import torch

from benchmarks import streamed
from benchmarks.perceptrons import repeated_gaussians

SMALL = repeated_gaussians((4, 8, 8, 3), 8)


def test_a_pair_of_jobs_is_one_network_in_memory_and_streamed():
    whole, part = streamed.pair(SMALL)
    assert whole.network is part.network
    assert (whole.plan.route, part.plan.route) == ("dense", "streamed")
    assert (whole.blocks, part.blocks > 1) == (1, True)
    assert part.plan.fits


def test_the_large_job_has_a_quarter_of_its_factor_where_that_suffices():
    # 2 GB; no derivative is taken to plan it.
    job = streamed.beyond_budget(repeated_gaussians((4, 600, 600, 3), 350))
    assert job.plan.fits
    assert job.plan.route == "streamed"
    assert job.factor_bytes >= streamed.TIMES_ITS_BUDGET * job.plan.bytes_available


def test_repeated_inputs_keep_the_value_below_the_ceiling():
    copies = SMALL.inputs[:1] == SMALL.inputs[-1:]
    assert copies.all()
    assert SMALL.labels[0] != SMALL.labels[-1]
    assert streamed._exact_igs(SMALL, streamed.UNLIMITED).saturation < 1


def test_routes_agree():
    outcomes = streamed.run_jobs(streamed.pair(SMALL), SMALL, 1, streamed.this_process)
    assert outcomes[1].beside is outcomes[0].own
    assert outcomes[1].apart < streamed.AGREEMENT


def test_a_quick_run_prints_a_line_for_every_job(capsys):
    before = torch.get_num_threads()
    streamed.main(["--quick"])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    jobs = [streamed.IN_MEMORY, streamed.STREAMED] * 3 + [streamed.LARGE]
    assert [line.split(": ")[1] for line in printed.err.splitlines()[:7]] == jobs
    assert sum(" × " in line and "streamed" in line for line in lines) >= 4
    assert "aims" in lines
    assert torch.get_num_threads() == before

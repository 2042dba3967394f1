"""Two processes on a problem: the numbers of one, and a clear end where they cannot go on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import igsref
from igsref.curvature.factor import reduced_factor
from tests.measures.test_matrixfree import labelled, perceptron

# The processes that it starts execute no annotations.
pytestmark = pytest.mark.long

MODEL, DATA = perceptron(0, 3, 10, 10, 3), labelled(0, 13, (3,), 3)
TALL = perceptron(0, 3, 4, 3), labelled(0, 40, (3,), 3)
SETTINGS = {"tolerance": 1e-9, "heaviest": 2, "dtype": torch.float64, "max_iterations": 50}
WORKER = """
import json, os, sys
from datetime import timedelta
import torch
import torch.distributed as dist
import igsref
from igsref.curvature.sharded import sharded_operator
from tests.curvature.test_sharded import DATA, MODEL, SETTINGS, TALL
from tests.measures.test_matrixfree import labelled, perceptron

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2,
    timeout=timedelta(seconds=30),
)
group = dist.group.WORLD
told = {}
problem = igsref.as_problem(MODEL, DATA)
operator = sharded_operator(problem, group)
told["samples"] = operator.samples.tolist()
X = torch.ones(problem.num_parameters, 2, dtype=torch.float64)
images, back = operator.normal(X)
told["images"], told["back"] = images.tolist(), back.tolist()
found = igsref.matrixfree_igs(MODEL, DATA, group=group, checkpoint=f"{folder}/run", **SETTINGS)
told["result"] = found.to_json()
told["sketched"] = igsref.matrixfree_igs(*TALL, group=group, **SETTINGS).to_json()
for name, model, data, settings in [
    ("another problem", perceptron(rank, 3, 10, 10, 3), DATA, {}),
    ("another tolerance", MODEL, DATA, {"tolerance": 0.1 / (1 + rank)}),
    ("one that was told", *TALL, {"preconditioner": "ekfac"} if rank else {}),
    ("too few", MODEL, labelled(0, 1, (3,), 3), {}),
]:
    try:
        igsref.matrixfree_igs(model, data, group=group, **settings)
    except ValueError as error:
        told[name] = str(error)
if rank == 1:
    print(json.dumps(told), flush=True)
    os._exit(3)
try:
    operator.normal(X)
    told["alone"] = "went on"
except RuntimeError as error:
    told["alone"] = "ended"
print(json.dumps(told), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )
        for rank in (0, 1)
    ]
    out = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 3]
    return [json.loads(text.splitlines()[-1]) for text in out]


def test_each_has_some_of_the_samples(told):
    assert told[0]["samples"] == list(range(7))
    assert told[1]["samples"] == list(range(7, 13))


def test_products_are_those_of_the_factor(told):
    A = reduced_factor(igsref.as_problem(MODEL, DATA))
    X = torch.ones(A.shape[1], 2, dtype=torch.float64)
    for one in told:
        for name, expected in (("images", A @ X), ("back", A.mT @ (A @ X))):
            found = torch.tensor(one[name], dtype=torch.float64)
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_two_agree_with_one(told):
    alone = igsref.matrixfree_igs(MODEL, DATA, **SETTINGS)
    results = [igsref.Result.from_json(one["result"]) for one in told]
    assert results[0] == results[1]
    # Sums in another order: some eps a step, of at most 50 steps.
    for name in ("value", "lower", "upper"):
        assert getattr(results[0], name) == pytest.approx(getattr(alone, name), rel=1e-12)
    assert [s.number for s in results[0].history] == [s.number for s in alone.history]


def test_two_agree_with_one_by_a_sketch(told):
    alone = igsref.matrixfree_igs(*TALL, **SETTINGS)
    assert alone.preconditioner.startswith("sketch")
    results = [igsref.Result.from_json(one["sketched"]) for one in told]
    assert results[0] == results[1]
    assert results[0].preconditioner == alone.preconditioner
    # T is the same; sums in another order are amplified by directions above the cut, 1/√u at most,
    # and what is found of them is multiplied out.
    assert results[0].value == pytest.approx(alone.value, rel=1e-8)


@pytest.mark.parametrize(
    "case, differs",
    [
        ("another problem", "parameters"),
        ("another tolerance", "tolerance"),
        ("one that was told", "preconditioner"),
    ],
)
def test_processes_with_different_arguments_end_both(told, case, differs):
    for one in told:
        assert f"process 1 has other {differs} than process 0" in one[case]


def test_more_processes_than_inputs_are_refused(told):
    for one in told:
        assert "no more processes than the pool has inputs, 1; got 2" in one["too few"]


def test_a_process_that_dies_ends_the_other(told):
    assert told[0]["alone"] == "ended"

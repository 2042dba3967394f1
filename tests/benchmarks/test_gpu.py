"""What benchmarks/gpu.py says of a device, tried on the CPU: where it agrees and where it does not.

The CPU beside itself agrees in every digit; a device that computes something else must be found.
"""

import math
import time

import pytest
import torch
from torch import nn

import igsref
from benchmarks import gpu, gpu_agreement
from benchmarks.gpu_agreement import Beside, Case, Row
from experiments.data import random_images

CPU = torch.device("cpu")
UNIT_OF_TF32 = 2.0**-11
CARD = gpu.Card("Card X", 80 * 2**30, "9.0", "12.8", "2.13.0", "3.11.2")
FIGURE = gpu.Figure(5000, 45000, "certificate", 12.34, 180.0, 2**30, 1.0, "full row rank")
RIGHT, WRONG = Row("right", 1.0, 1.0, 0.0, 1e-9), Row("wrong", 1.0, 2.0, 1.0, 1e-9)


def small_case():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    return Case("small", model, (x, torch.tensor([0, 1, 1])), saturated=True)


@pytest.fixture(scope="module")
def pair():
    case = small_case()
    return Beside(case.problem(CPU), case.problem(CPU))


def in_tf32(case):
    """The same with weights of 10 bits behind the first, as TF32 takes them."""
    model = small_case().model
    with torch.no_grad():
        for value in model.parameters():
            value.copy_((value.view(torch.int32) & ~0x1FFF).view(torch.float32))
    return Case(case.name, model, case.data, case.saturated)


def test_the_cpu_agrees_with_itself_by_every_route(pair, monkeypatch):
    monkeypatch.setattr(gpu_agreement, "PAIRS", 1)  # further ones take a search for copies
    rows = list(gpu_agreement.rows_of(pair, saturated=True))
    assert [row.what for row in rows if not row.ok] == []
    kinds = [row.what.split(":")[0] for row in rows]
    for kind in (
        *("dense", "streamed", "igs chose dense", "‖A X‖, float64", "‖A X‖, float32"),
        *("‖AᵀU‖, float32", "adjoint error, float32", "‖A X‖, float32 though TF32 is on"),
        *("EKFAC, float64", "1 eigenvalues, fisher", "1 eigenvalues, hessian", "certificate"),
        *("krylov, float64", "krylov, float32", "krylov, begun on the CPU"),
    ):
        assert kind in kinds
    steps = next(row for row in rows if row.what == "krylov, begun on the CPU: steps")
    assert steps.cpu == steps.device == 1
    assert torch.backends.cuda.matmul.allow_tf32 is False


def test_another_network_is_found(pair, monkeypatch):
    monkeypatch.setattr(gpu_agreement, "PAIRS", 1)
    other = Beside(pair.cpu, in_tf32(small_case()).problem(CPU))
    rows = [
        *gpu_agreement._exact(other),
        *gpu_agreement._products(other, torch.float32),
        *gpu_agreement._ekfac(other, torch.float64),
        *gpu_agreement._eigenvalues(other, "fisher"),
    ]
    wrong = {row.what for row in rows if not row.ok}
    assert {row.what for row in rows} - wrong == {
        # Each device by itself, names alone, and the CPU's blocks moved.
        *("adjoint error, float32", "EKFAC, float64: tensors", "EKFAC, float64: ‖T X‖"),
    }
    # What TF32 makes of the weights is no more than that, and is seen.
    off = next(row.difference for row in rows if row.what == "‖A X‖, float32")
    assert off < UNIT_OF_TF32


def test_a_route_that_raises_is_a_row_that_fails(pair):
    other = Beside(pair.cpu, in_tf32(small_case()).problem(CPU))
    (row,) = gpu_agreement.guarded("krylov", lambda: gpu_agreement._continued(other))
    assert row.what.startswith("krylov: CheckpointError")  # the checkpoint of another network
    assert not row.ok


def test_a_wrong_adjoint_is_found(pair, monkeypatch):
    right = gpu_agreement.FactorOperator.adjoint

    def wrong(self, vectors, weights=None):
        return right(self, vectors, weights) * (1 + UNIT_OF_TF32)

    operators = gpu_agreement.factor_operator(pair.cpu), gpu_agreement.factor_operator(pair.device)
    monkeypatch.setattr(gpu_agreement, "factor_operator", lambda *_, **__: operators[1])
    monkeypatch.setattr(gpu_agreement.FactorOperator, "adjoint", wrong)
    rows = {row.what: row for row in gpu_agreement._products(pair, torch.float32)}
    assert rows["‖A X‖, float32"].ok
    assert not rows["adjoint error, float32"].ok


def test_networks_are_what_they_are_said_to_be():
    kinds = {type(module) for case in gpu_agreement.cases() for module in case.model.modules()}
    assert {nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.MultiheadAttention} <= kinds
    wide = []
    for case in gpu_agreement.cases():
        problem = case.problem(CPU)
        wide.append(problem.num_rows <= problem.num_parameters)
        assert igsref.exact_igs(problem).saturated is case.saturated
        # What TF32 would lose stands out, on every one of them.
        allowed = Beside(problem, problem).product_rounding(torch.float32)
        assert allowed < UNIT_OF_TF32 / 10
    assert set(wide) == {True, False}


def test_rows_that_cannot_be_right_are_not():
    assert not Row("", 0.0, 0.0, math.nan, 1.0).ok
    assert not Row("", 0.0, 0.0, math.inf, 1.0).ok
    result = igsref.exact_igs(small_case().problem(CPU))
    other = igsref.Result(**{**vars(result), "method": "krylov"})
    first = next(iter(gpu_agreement._results(result, other)))
    assert not first.ok
    assert "dense and krylov" in first.what


def test_a_group_of_one_agrees_with_none(pair, monkeypatch):
    row = gpu_agreement.group_row(pair)
    assert row.ok
    assert row.what == "gloo, one process"
    monkeypatch.setattr(gpu_agreement.dist, "is_backend_available", lambda name: False)
    with pytest.raises(RuntimeError, match="this torch has no gloo"):
        gpu_agreement.group_row(pair)


def test_figures_are_measured_and_no_page_is_written_without_a_gpu(tmp_path, capsys):
    page = tmp_path / "gpu.md"
    gpu.main(
        [
            *(
                "--device",
                "cpu",
                "--part",
                "figures",
                "--data",
                "synthetic",
                "--network",
                "resnet8",
            ),
            *("--train", "2", "--epochs", "1", "--sizes", "1"),
            *("--output", str(tmp_path), "--write", str(page)),
        ]
    )
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("resnet8, 78,042 parameters, 1 epochs on 2 images of synthetic")
    certificate, probe, some = (line.split() for line in printed[-3:])
    assert certificate[:3] == ["1", "9", "certificate"]
    assert some[:4] == ["1", "9", "one", "probe"]
    assert "1.000000" in certificate
    assert probe[:4] == ["2", "18", "one", "probe"]
    assert "(statistical)," in probe
    assert not page.exists()


@pytest.mark.parametrize(
    "error, said, failed",
    [
        (
            MemoryError("the Gram matrix needs 5.0 GiB"),
            "were free: the Gram matrix needs 5.",
            False,
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "were free: CUDA out of memory", False),
        (RuntimeError("cusolver error: 7\nmore"), "RuntimeError: cusolver error: 7", True),
    ],
)
def test_a_figure_without_a_result_says_why(error, said, failed):
    def work():
        raise error

    line = gpu.measured(work, random_images(0, 5), 60.0, "certificate", 120.0)
    assert line.shown.endswith(said) or said in line.shown
    assert line.saturation is None
    assert line.failed is failed
    assert (line.samples, line.rows) == (5, 45)


def test_a_figure_ends_at_its_limit():
    def work():
        try:
            time.sleep(20)
        except Exception:  # as where one way failing means that another is tried
            time.sleep(20)
        return None, "never"

    line = gpu.measured(work, random_images(0, 5), 0.05, "one probe", 600.0)
    assert line.shown == "not done after 0.05 s"
    assert 0.05 <= line.seconds < 10


def test_a_rank_that_is_not_full_is_no_result():
    case = next(case for case in gpu_agreement.cases() if not case.saturated)
    with pytest.warns(RuntimeWarning, match="cannot be shown"):
        result, shown = gpu.certified(case.model, case.data)
    assert result is None
    assert "of 120 only" in shown


def test_without_a_cuda_device_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    page = tmp_path / "gpu.md"
    gpu.main(["--write", str(page)])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no GPU here, so nothing was compared, measured or written: ")
    assert not page.exists()


def test_the_page_names_the_card_and_what_disagrees(tmp_path, monkeypatch):
    found = gpu.Findings("python benchmarks/gpu.py", [("MLP", RIGHT), ("CNN", WRONG)])
    assert found.wrong() == ["CNN, wrong"]
    monkeypatch.setattr(gpu, "card", lambda device: CARD)
    page = tmp_path / "gpu.md"
    found.write(page, torch.device("cuda"))
    text = page.read_text(encoding="utf-8")
    assert "Card X, 80.0 GiB, compute capability 9.0; torch 2.13.0, CUDA 12.8, Python" in text
    assert "1 of 2 comparisons agree" in text
    assert "| CNN | wrong | 1 | 2 | 1.0e+00 | 1.0e-09 | FAILS |" in text
    assert "How long it takes" not in text
    found.network, found.lines = "resnet18", [FIGURE]
    text = found.page(CARD)
    assert "| 5,000 | 45,000 | certificate | 12.3 | 180 | 1.0 GiB | 1.000000 | full row" in text
    found.write(page, CPU)
    assert "How long it takes" not in page.read_text(encoding="utf-8")


def test_a_disagreement_is_the_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "agreement", lambda device: iter([("MLP", RIGHT), ("CNN", WRONG)]))
    with pytest.raises(SystemExit, match="1 went wrong: CNN, wrong"):
        gpu.main(["--device", "cpu", "--part", "agreement"])
    assert "FAILS" in capsys.readouterr().out


def test_sizes_beyond_the_images_are_refused(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--train", "10", "--sizes", "11"])
    assert "--sizes must lie in 1..10" in capsys.readouterr().err

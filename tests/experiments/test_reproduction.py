"""The page is what its results give, says what was not run, and collects what scripts leave."""

import json
import re
from pathlib import Path

import pytest

from experiments import reproduction
from experiments.findings import finding, stored
from experiments.methods import Outcome
from experiments.reproduction import NAMES, collect, loaded, main, page
from experiments.studies import ROWS, Study
from experiments.studies import stored as stored_study
from tests.experiments.subjects import subjects

ROOT = Path(__file__).resolve().parents[2]


def study_results():
    accuracies = {"SGD": (0.90, 0.80, 0.85), "IGS": (0.92, 0.82, 0.87)}
    outcomes = {
        method: [Outcome(accuracy, 0.1, 0.1, 1.0) for accuracy in own]
        for method, own in accuracies.items()
    }
    rhos = {"SGD": 0.0, "IGS": 0.02}
    found = Study("mnist-3fcn", ROWS["mnist-3fcn"], 0.1, "chosen", rhos, outcomes)
    return json.loads(json.dumps(stored_study(found)))


def some_results():
    estimates = {"IGS/N": lambda gap: gap, "AIC": lambda gap: gap / 2}
    parts = [finding(part, subjects(6, **estimates)) for part in ("epochs", "control")]
    return {
        "figure3-mnist.json": json.loads(json.dumps([stored(found) for found in parts])),
        "table1-mnist-3fcn-0.1.json": study_results(),
    }


def test_the_page_is_what_its_results_give():
    written = (ROOT / reproduction.PAGE).read_text("utf-8")
    assert written == page(loaded(ROOT / reproduction.RESULTS))


def test_every_link_of_the_page_leads_somewhere():
    text = (ROOT / reproduction.PAGE).read_text("utf-8")
    links = {target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)}
    assert len(links) >= 4
    assert all((ROOT / "docs" / link).is_file() for link in links)


def test_every_result_is_on_the_page_and_what_was_not_run_too():
    text = page(some_results())
    assert "| Figure 3, mnist, epochs | " in text
    assert "| Table 1, mnist-3fcn, smoothing 0.1 | " in text
    assert "| IGS | 0.02 | 3 | 87.00 ± 2.89 | +2.00 ± 0.00 | 98.65 | 1 |" in text
    (absent,) = (line for line in text.splitlines() if line.startswith("Not run: "))
    for name in ("mnist, equal training loss", "cifar10, epochs", "Figure 5", "cifar10-vgg11bn"):
        assert name in absent
    assert "mnist-3fcn, smoothing 0;" in absent
    assert "; Table 1, cifar10-resnet56; Table 1, cifar10-wrn16-8; " in absent
    assert "mnist-3fcn, smoothing 0.1" not in absent
    assert "**cifar100-wrn16-8**, smoothing 0: not run." in text
    assert "**mnist-3fcn**, smoothing 0: not run." in text


def test_the_count_of_verdicts_is_that_of_the_table():
    text = page(some_results())
    lines = [line for line in text.splitlines() if "| **" in line]
    words = [re.search(r"\| \*\*(.*?)\*\*", line)[1] for line in lines]
    # Every measure of the population rises with the gap, the baselines too; the control's gap is
    # IGS/N; all seeds have one difference.
    assert words == ["confirmed in part", "confirmed", "confirmed"]
    # Four populations, the control, Figure 5, and eight rows of Table 1 with two smoothings each.
    assert "Of 22 verdicts: 2 confirmed, 1 confirmed in part, 19 not run." in text


def test_results_are_collected_from_wherever_they_lie(tmp_path):
    for name in ("figure5.json", "igs-step.json", "figure3-mnist.png"):
        path = tmp_path / "out" / name.split(".")[0] / name
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    copied = collect(tmp_path / "out", tmp_path / "results")
    names = sorted(path.name for path in copied)
    assert names == ["figure3-mnist.png", "figure5.json", "igs-step.json"]
    assert loaded(tmp_path / "results") == {"figure5.json": {}, "igs-step.json": {}}


def test_two_results_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "figure5.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"two results have the name figure5\.json"):
        main(["--collect", str(tmp_path), "--results", str(tmp_path / "results")])


def test_no_results_are_said_in_a_line(tmp_path):
    with pytest.raises(SystemExit, match=f"holds none of {NAMES[0]}"):
        main(["--results", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"^--collect: .* holds none of {NAMES[0]}"):
        main(["--collect", str(tmp_path)])


def test_the_script_writes_the_page(tmp_path, capsys):
    folder = tmp_path / "results"
    folder.mkdir()
    for name, content in some_results().items():
        (folder / name).write_text(json.dumps(content))
    main(["--results", str(folder), "--write", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text("utf-8") == page(some_results())
    assert "wrote" in capsys.readouterr().out

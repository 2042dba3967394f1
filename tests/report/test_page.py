"""The page holds what was found, loads nothing, lies well in a browser, and is written whole."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

import igsref
from igsref.geometry.checkpoint import problem_fingerprint
from igsref.report import page as module
from igsref.report.findings import Textbook, find
from igsref.report.page import page, write_report
from tests.report.browser import laid_out
from tests.report.networks import images, perceptron


class Text(HTMLParser):
    """The words of a page, and the addresses that it loads."""

    def __init__(self, source):
        super().__init__()
        self.words, self.loaded, self._style = [], [], False
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self._style = tag == "style"
        self.loaded += [v for name, v in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if not self._style:
            self.words += data.split()


def text_of(source):
    return " ".join(Text(source).words)


@pytest.fixture(scope="module")
def findings():
    return find(igsref.as_problem(*images()), None, 600.0)


@pytest.fixture(scope="module")
def source(findings):
    return page(findings, "a <net> & more", "igsref report a b c")


def test_value_bracket_and_sentences_are_the_result_s(findings, source):
    result, text = findings.result, text_of(source)
    lower, upper = module._ends(result)
    assert f"{result.value:.8g} in [{lower}, {upper}]" in text
    assert "a <net> & more" in text  # escaped in the source, as it was for a reader
    assert "<net>" not in source
    assert result.grade in text
    assert f"ceiling {result.ceiling:.8g}" in text
    assert f"training loss {result.loss:.6g} nats" in text
    assert f"rank of F between {result.rank_lower} and {result.rank_upper} rows" in text
    assert "igsref report a b c" in text


def test_the_ends_of_a_bracket_are_told_apart(findings):
    def ends(low, high):
        return module._ends(replace(findings.result, lower=low, upper=high))

    assert ends(1.0, 2.0) == ("1", "2")
    assert ends(1.00000000001, 1.00000000002) == ("1.00000000001", "1.00000000002")
    assert ends(2.5, 2.5) == ("2.5", "2.5")


def test_the_heaviest_samples_have_their_numbers(findings, source):
    result, text = findings.result, text_of(source)
    (number, share), *_ = result.heaviest()
    row = f"#{number} {number % 3}"
    assert row in text
    assert f"{float(result.per_sample[number]):.5g}" in text
    assert f"{100 * share:.3g}%" in text
    assert source.count('class="thumbnail"') == result.num_samples


def test_the_ceiling_of_a_sample_is_what_the_page_says(findings, source):
    result, problem = findings.result, findings.problem
    losses = problem.likelihood.loss(problem.labelled_logits, problem.targets)
    assert torch.allclose(result.sample_ceiling, result.pool_size * losses.expm1(), rtol=1e-12)
    assert f"that is {result.pool_size} · expm1(loss), over the number of times" in text_of(source)


def test_it_loads_nothing(source):
    loaded = Text(source).loaded
    assert loaded
    assert all(address.startswith("data:") for address in loaded)
    assert "http" not in re.sub(r'"data:[^"]*"', "", source)
    assert "<script" not in source


def test_the_fingerprint_is_that_of_the_problem(findings, source):
    digests = problem_fingerprint(findings.problem)
    assert digests["parameters"][:16] in source
    assert digests["inputs"][:16] in source


def test_what_was_left_out_is_said_and_what_was_warned_of_is_shown(findings):
    bare = replace(
        findings,
        spectrum=None,
        layers=(),
        classes=(),
        textbook=(),
        left_out={name: f"no {name}" for name in ("spectrum", "layers", "classes", "textbook")},
        warned=("a word of warning",),
    )
    text = text_of(page(bare, "t", "c"))
    for said in (*bare.left_out.values(), *bare.warned):
        assert said in text


def test_a_textbook_without_a_result_says_so(findings):
    failed = replace(findings, textbook=(Textbook("float32", 1e-5, None),))
    assert "float32 1e-05 λ max no result –" in text_of(page(failed, "t", "c"))


@pytest.mark.parametrize(
    ("value", "upper", "said"),
    [
        (1.5, 2.0, "in the bracket"),
        (2.5, 2.0, "above the bracket"),
        (0.5, 2.0, "below the bracket"),
        (0.5, 1.0, "-50%"),
    ],
)
def test_a_textbook_is_held_to_the_bracket(findings, value, upper, said):
    result = replace(findings.result, lower=1.0, value=1.0, upper=upper, ceiling=3.0)
    own = replace(findings, result=result, textbook=(Textbook("float64", 1e-5, value),))
    assert f"λ max {value:.7g} {said} F formed" in text_of(page(own, "t", "c"))


@pytest.mark.long
def test_an_iteration_and_a_subset_of_parameters_are_said(tmp_path):
    model, data = images()
    write_report(model, data, tmp_path / "a.html", memory=30_000)
    text = text_of((tmp_path / "a.html").read_text("utf-8"))
    assert "Their mean is the IGS's lower end" in text
    assert "a.html', memory=30000)" in text
    write_report(model, data, tmp_path / "b.html", parameters="0.*")
    text = text_of((tmp_path / "b.html").read_text("utf-8"))
    assert "10 of 16: a lower bound for the whole network" in text
    assert f"write_report(model, data, '{tmp_path / 'b.html'}', parameters='0.*')" in text


def test_the_file_is_written_whole_and_the_result_returned(tmp_path):
    model, data = perceptron()
    path = tmp_path / "new" / "out.html"
    result = write_report(model, data, path, image_shape=(2, 2), title="digits", command="make it")
    assert result == igsref.igs(model, data)
    assert [each.name for each in path.parent.iterdir()] == ["out.html"]
    text = text_of(path.read_text("utf-8"))
    assert "sharpness: digits" in text
    assert "make it" in text


def test_nothing_lies_about_while_it_measures_or_after_it_failed(tmp_path, monkeypatch):
    def interrupted(*arguments):
        assert list(tmp_path.iterdir()) == []  # what a signal that kills would leave
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "find", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(*perceptron(), tmp_path / "out.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"image_shape": (2, 3)}, ValueError, "image_shape must be"),
        ({"max_seconds": 0.0}, ValueError, "max_seconds"),
        ({"memory": 0}, ValueError, "memory"),
        ({"likelihod": "gaussian"}, TypeError, "unknown option 'likelihod'"),
    ],
)
def test_bad_input_is_named_and_writes_nothing(tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        write_report(*perceptron(), tmp_path / "out.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_and_a_file_in_the_way_are_refused(tmp_path):
    with pytest.raises(OSError, match=r"^path must name a file; .* is a folder$"):
        write_report(*perceptron(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can be written; .*file/out\.html: "):
        write_report(*perceptron(), tmp_path / "file" / "out.html")


def test_labels_that_are_no_classes_have_a_page(tmp_path):
    model, (x, _) = perceptron()
    y = torch.zeros(len(x), 3, dtype=torch.float64)
    write_report(model, (x, y), tmp_path / "out.html", likelihood="gaussian")
    assert "no classes" in text_of((tmp_path / "out.html").read_text("utf-8"))


@pytest.mark.long
@pytest.mark.parametrize("width", [400, 1400])
def test_it_lies_well_in_a_browser(source, tmp_path, width):
    path = tmp_path / "report.html"
    path.write_text(source, "utf-8")
    found = laid_out(path, width, tmp_path)
    assert found["leaves"] > 100
    assert found["console"] == []
    assert found["broken"] == 0
    assert found["overlaps"] == []
    assert found["outside"] == []
    assert found["wider"] <= 0

"""The page holds what was found, loads nothing, lies well in a browser, and is written whole."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
import torch

import igsref
from igsref.geometry.checkpoint import problem_fingerprint
from igsref.report import page as module
from igsref.report import pictures
from igsref.report.captions import captions
from igsref.report.findings import Textbook
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


@pytest.fixture
def undrawn(monkeypatch):
    """Pages of words alone: their figures take most of the time."""
    monkeypatch.setattr(pictures, "drawn", lambda found: dict.fromkeys(captions(found), "data:,"))


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
    between = f"rank of F between {result.rank_lower} and {result.rank_upper}, the upper end by"
    assert f"{between} the number of independent outputs" in text
    assert f"independent outputs {result.num_rows}: 2 of each of {result.num_samples}" in text
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


def test_every_figure_has_its_caption_and_the_bracket_its_advice(findings, source):
    text = text_of(source)
    for said in captions(findings).values():
        assert said in text
    assert "rank_bound= brings the upper end down" in text


def test_the_head_has_the_model_and_the_day(findings, undrawn):
    before = datetime.now(UTC)
    text = text_of(page(findings, "t", "c", weights="net.pt"))
    days = {f"measured {when:%Y-%m-%d}" for when in (before, datetime.now(UTC))}
    assert any(day in text for day in days)
    assert "model Sequential, 16 parameters; weights from net.pt data N = 6 labelled" in text


def test_the_igs_over_n_is_not_given_beside_a_pool(findings, source, undrawn):
    assert f"IGS / N {findings.result.value / 6:.6g} training loss" in text_of(source)
    model, (x, y) = perceptron()
    pooled = igsref.as_problem(model, (x[:3], y[:3]), fisher_data=x[3:])
    found = replace(findings, problem=pooled, result=igsref.exact_igs(pooled))
    text = text_of(page(found, "t", "c"))
    assert "With a pool IGS / N is left out" in text
    assert text.count("IGS / N") == 1
    assert "N = 3 labelled samples" in text
    assert "a mean over a pool of N_F = 8 inputs" in text


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


def test_what_was_left_out_is_said_and_what_was_warned_of_is_shown(findings, undrawn):
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


def test_a_textbook_without_a_result_says_so(findings, undrawn):
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
def test_a_textbook_is_held_to_the_bracket(findings, undrawn, value, upper, said):
    result = replace(findings.result, lower=1.0, value=1.0, upper=upper, ceiling=3.0)
    own = replace(findings, result=result, textbook=(Textbook("float64", 1e-5, value),))
    assert f"λ max {value:.7g} {said} What the formula" in text_of(page(own, "t", "c"))


@pytest.mark.long
def test_an_iteration_and_a_subset_of_parameters_are_said(tmp_path, undrawn):
    model, data = images()
    result = write_report(model, data, tmp_path / "a.html", memory=30_000)
    text = text_of((tmp_path / "a.html").read_text("utf-8"))
    assert "carry 100% of the lower end" in text
    assert f"krylov, {len(result.history)} steps, ended by:" in text
    assert "a.html', memory=30000)" in text
    write_report(model, data, tmp_path / "b.html", parameters="0.*")
    text = text_of((tmp_path / "b.html").read_text("utf-8"))
    assert "10 of 16 parameters: the IGS is a lower bound for the whole network" in text
    assert f"write_report(model, data, '{tmp_path / 'b.html'}', parameters='0.*')" in text


def test_the_file_is_written_whole_and_the_result_returned(tmp_path, undrawn):
    model, data = perceptron()
    path = tmp_path / "new" / "out.html"
    result = write_report(model, data, path, image_shape=(2, 2), title="digits", command="make it")
    assert result == igsref.igs(model, data)
    assert [each.name for each in path.parent.iterdir()] == ["out.html"]
    text = text_of(path.read_text("utf-8"))
    assert "sharpness: digits" in text
    assert "make it" in text


def test_a_problem_has_its_model_s_name_and_a_link_stays(tmp_path, undrawn):
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "out.html")
    write_report(igsref.as_problem(*perceptron()), None, link)
    assert link.is_symlink()
    text = text_of((tmp_path / "out.html").read_text("utf-8"))
    assert "sharpness: Sequential, 8 samples" in text


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


def test_labels_that_are_no_classes_have_a_page(tmp_path, undrawn):
    model, (x, _) = perceptron()
    y = torch.zeros(len(x), 3, dtype=torch.float64)
    path = tmp_path / "out.html"
    write_report(model, (x, y), path, likelihood="gaussian", weights=tmp_path / "w.pt")
    text = text_of(path.read_text("utf-8"))
    assert "no classes" in text
    assert "sample loss, nats score" in text  # and neither label nor prediction
    assert f"weights='{tmp_path / 'w.pt'}', likelihood='gaussian')" in text


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

"""What the pages of docs/ show is what happens, and what they quote is there.

Every ```python block of a page runs, one after the other in one namespace; where a ```text block
follows, that is what it prints.
"""

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

import igsref

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
RUN_ELSEWHERE = {
    "comparing": "measures/test_comparing_page.py",
    "reparametrization": "toy/test_reparametrization.py",
    "surgery": "transforms/surgery/test_page.py",
    "symmetries": "transforms/symmetries/test_page.py",
    "training": "training/test_training_page.py",
    "vectors": "vectors/test_package_data.py",
}
"""Pages whose blocks a test of their own runs."""
DIGITS = 1e-6
"""Relative, of numbers that come from a training in float64: its order of sums is the machine's."""


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str) -> list[tuple[str, str]]:
    """Each block with what it prints; empty where the page does not say."""
    return BLOCK.findall(text_of(page))


PAGES = sorted(path.stem for path in DOCS.glob("*.md"))
RUN_HERE = [page for page in PAGES if page not in RUN_ELSEWHERE and blocks(page)]


def preset() -> dict[str, object]:
    """What pages use without a definition: a classifier that nobody trained, and its data."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x, y = torch.randn(40, 2), torch.arange(40) % 3
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=10)
    given = {"model": model, "data": (x, y), "x": x, "y": y, "loader": loader}
    return {**given, "torch": torch, "nn": nn, "igsref": igsref}


def numbers_agree(printed: str, shown: str) -> bool:
    """To 1e-6 of themselves or a unit of the last digit shown; integers are equal.

    An estimate with one digit and an exponent (3e-09) is an order of magnitude, and may differ.
    """
    if re.fullmatch(r"\d+e[+-]\d+", shown):
        return "e" in printed
    if "." not in shown:
        return printed == shown
    mantissa, _, exponent = shown.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(printed) - float(shown)) <= max(1.01 * unit, DIGITS * abs(float(shown)))


def prints_what_is_shown(printed: str, shown: str) -> bool:
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", shown).split():
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    return all(numbers_agree(*pair) for pair in pairs)


@pytest.mark.long
@pytest.mark.parametrize("page", RUN_HERE)
def test_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with torch.random.fork_rng():
        scope = preset()
        for code, shown in blocks(page):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, f"docs/{page}.md", "exec"), scope)
            if shown:
                assert prints_what_is_shown(printed.getvalue(), shown), printed.getvalue()


@pytest.mark.parametrize("page", RUN_ELSEWHERE)
def test_a_page_that_is_not_run_here_has_a_test_of_its_own(page):
    assert blocks(page)
    assert f"{page}.md" in (ROOT / "tests" / RUN_ELSEWHERE[page]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("printed", "shown", "agree"),
    [
        ("IGS 2.50000001 (3e-12)", "IGS 2.5000000 (4e-11)", True),
        ("IGS 2.5001", "IGS 2.5000", True),
        ("IGS 2.5002", "IGS 2.5000", False),
        ("rank 17", "rank 18", False),
        ("holds 2.5", "broken 2.5", False),
        ("2.5", "2.5 2.5", False),
        ("nothing", "3e-09", False),
    ],
)
def test_printed_numbers_agree_to_the_digits_that_are_shown(printed, shown, agree):
    assert prints_what_is_shown(printed, shown) == agree


def anchor(heading: str) -> str:
    """As code hosts and MyST make it."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def prose(path: Path) -> str:
    """The page without its blocks."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    return {anchor(found) for found in re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    labels = re.findall(r"^\(([\w-]+)\)=$", text_of(page), re.MULTILINE)  # MyST's own
    astray = []
    words = re.sub(r"`[^`\n]*`", "", prose(DOCS / f"{page}.md"))
    for target, heading in LINK.findall(words):
        path = DOCS / target if target else DOCS / f"{page}.md"
        if target in labels:
            continue
        if not path.exists() or (heading and heading[1:] not in anchors(path)):
            astray.append(target + heading)
    assert not astray


def test_verdicts_on_the_paper_are_those_of_the_claims():
    stated = dict(
        re.findall(r"^\| \[([\w-]+)\]\(#\1\) \|.*?\| ([a-z ]+) \|", text_of("claims"), re.M)
    )
    quoted = re.findall(r"\[([\w-]+)\]\(claims\.md#\1\): ([a-z ]+)", text_of("paper"))
    sources = re.findall(r"^\| \[([\w-]+)\].*?\| (.*?) \|", text_of("claims"), re.MULTILINE)
    assert {name: stated[name] for name, _ in quoted} == dict(quoted)
    of_the_paper = {name for name, source in sources if source != "beyond the paper"}
    assert of_the_paper <= set(dict(quoted))


def test_verdicts_on_the_figures_are_those_of_the_reproduction():
    found = text_of("reproduction")
    judged = r"\*\*(Figure \d)\*\*.*?\*(Confirmed(?:\s+in\s+part)?)\*[:,.]"
    by_hand = {
        name: " ".join(verdict.lower().split())
        for name, verdict in re.findall(judged, found, re.DOTALL)
    }
    by_rule = dict(re.findall(r"^\| ([^|]+) \| [^|]+ \| \*\*([a-z ]+)\*\*", found, re.MULTILINE))
    quoted = re.findall(r"(Figure \d|Table 1)[^:|]*: \[([a-z ]+)\]", text_of("paper"))
    assert {name for name, _ in quoted} == {*(f"Figure {n}" for n in range(1, 6)), "Table 1"}
    for name, verdict in quoted:
        ours = {v for row, v in by_rule.items() if row.startswith(name) and "mnist" in row}
        expected = {by_hand[name]} if name in by_hand else ours or {by_rule[name]}
        assert {verdict} == expected, name


def test_figures_of_the_choice_are_those_of_the_pages_that_it_names():
    """README is no page of the documentation, and so is named without a link."""
    row = r"^\|[^|]+\|[^|]+\|([^|]+)\|([^|]+)\| (?:\[[^]]+\]\(([^)#]+)\)|`README.md`) \|$"
    rows = re.findall(row, text_of("choosing"), re.MULTILINE)
    assert len(rows) > 8
    for figures, command, source in rows:
        page = (DOCS / (source or "../README.md")).read_text(encoding="utf-8")
        numbers = re.findall(r"\d[\d,.]*\d", figures)
        assert numbers
        missing = [n for n in numbers if not re.search(rf"(?<![\d.]){re.escape(n)}(?!\d)", page)]
        assert not missing, (figures, source)
        script = command.strip().strip("`").removeprefix("python ").split(" --")[0]
        assert script in page, (command, source)


def test_the_page_on_the_code_names_every_floor_and_every_target():
    page = text_of("house")
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    floors = [re.findall(r"igsref\.(\w+)", floor) for floor in contract["contracts"][0]["layers"]]
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in table] == floors
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"^\| `make ([a-z-]+)` \|", page, re.MULTILINE)) == set(targets)


def test_the_page_on_the_code_names_files_that_are_there():
    named = re.findall(r"`((?:igsref|tests|verification)/[\w/.]*)`", text_of("house"))
    pattern = {"igsref/x/y.py", "tests/x/test_y.py"}
    assert pattern < set(named)
    assert not [path for path in {*named} - pattern if not (ROOT / path).exists()]

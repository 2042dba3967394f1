"""The table and the page of claims, and that the page in docs/ is of these claims."""

from dataclasses import replace
from pathlib import Path

import pytest

from verification import proofs
from verification.claims import CLAIMS, Claim, Disproved, require

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"


def even(sign: int = 1) -> str:
    require(2 * sign == 2, "twice the sign is 2")
    return "1 case"


CLAIM = Claim(
    name="even",
    source="(1)",
    statement="2 = 2",
    status="proved",
    means="symbolic identity",
    argument="By counting.",
    check=even,
    mutations={"sign": {"sign": -1}},
)
REFUTED = replace(CLAIM, name="odd", status="refuted", counterexample="3.")


def test_a_failed_check_is_told_and_fails_the_run(monkeypatch, capsys, tmp_path):
    def fails() -> str:
        raise Disproved("2 = 2: got False")

    monkeypatch.setattr(proofs, "CLAIMS", (CLAIM, replace(CLAIM, name="broken", check=fails)))
    target = tmp_path / "claims.md"
    assert proofs.main(["--write", str(target)]) == 1
    printed = capsys.readouterr().out
    assert "CHECK FAILED" in printed and "2 = 2: got False" in printed
    assert printed.endswith("measured; 1 checks failed\n")
    assert not target.exists()
    assert proofs.main(["--only", "even"]) == 0


def test_the_page_has_a_row_and_a_section_for_each_claim(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(proofs, "CLAIMS", (CLAIM, REFUTED))
    target = tmp_path / "claims.md"
    assert proofs.main(["--write", str(target)]) == 0
    page = target.read_text()
    counts = "2 claims: 1 proved, 0 proved with a correction, 1 refuted, 0 measured"
    assert counts in " ".join(page.split())
    assert "| Λ_i, M_i | output metric" in page
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{counts}; 0 checks failed",
        f"written to {target}",
    ]
    assert "| [odd](#odd) | (1) | refuted | symbolic identity |" in page
    assert "**Counterexample.** 3." in page and "Checked: 1 case." in page


@pytest.mark.parametrize(
    "arguments", [["--only", "no such claim"], ["--only", "even", "--write", "x"]]
)
def test_what_makes_no_page_is_refused(arguments, monkeypatch, capsys):
    monkeypatch.setattr(proofs, "CLAIMS", (CLAIM,))
    with pytest.raises(SystemExit, match="2"):
        proofs.main(arguments)
    assert "--only" in capsys.readouterr().err


def test_the_page_in_docs_is_of_these_claims():
    """What was seen is printed again by the command; here, that nothing else has changed."""
    seen = [proofs.Checked(claim, "", "", 0.0) for claim in CLAIMS]
    expected = [line for line in proofs.page(seen).splitlines() if not line.startswith("Checked:")]
    found = [line for line in PAGE.read_text().splitlines() if not line.startswith("Checked:")]
    assert found == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "believed"}, "believed"),
        ({"status": "refuted"}, "counterexample"),
        ({"mutations": {}}, "mutation"),
        ({"means": "simulation"}, "a simulation measures"),
    ],
)
def test_a_claim_that_is_none_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CLAIM, **change)

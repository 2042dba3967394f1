"""The reference lists every public name once."""

import re
from pathlib import Path

import igsref

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def test_every_public_name_is_listed_once():
    listed = re.findall(r"^   (\w+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    packages = {"testing", "vectors", "conformance"}  # which are imported by their own names
    assert sorted(listed) == sorted({*igsref.__all__, *packages} - {"MEASURES"})

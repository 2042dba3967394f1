"""What README shows is what happens."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_readme_has_examples():
    assert BLOCKS


@pytest.mark.long
def test_examples_run_one_after_the_other():
    torch.manual_seed(0)
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), scope)
    assert 0 < scope["result"].value <= scope["result"].ceiling


def test_readme_fits_two_screens():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120

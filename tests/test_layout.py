"""The tests repeat the tree of the library: tests/x/test_y.py for igsref/x/y.py."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import igsref

ROOT = Path(__file__).resolve().parents[1]
SUBPACKAGES = {"training", "transforms"}
SELDOM = ("scipy.optimize", "matplotlib", "jinja2", "typer", "transformers", "igsref.training")


def test_every_module_has_its_tests():
    modules = [
        path.relative_to(ROOT / "igsref")
        for path in (ROOT / "igsref").rglob("*.py")
        if path.name != "__init__.py"
    ]
    missing = [
        str(module)
        for module in modules
        if not (ROOT / "tests" / module.parent / f"test_{module.name}").exists()
    ]
    assert modules
    assert not missing


def test_public_names_are_those_of_the_stub_once_and_documented():
    names = igsref.__all__
    stub = ast.parse((ROOT / "igsref" / "__init__.pyi").read_text("utf-8"))
    (listed,) = (
        ast.literal_eval(node.value)
        for node in stub.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    assert sorted(names) == sorted(set(names)) == sorted(listed)
    assert not [name for name in names if not getattr(igsref, name).__doc__]


def test_no_public_name_hides_a_module():
    modules = {path.stem for path in (ROOT / "igsref").iterdir()}
    assert modules & set(igsref.__all__) == SUBPACKAGES
    assert all(getattr(igsref, name).__path__ for name in SUBPACKAGES)


@pytest.mark.long
def test_the_library_loads_what_it_is_asked_for():
    """And neither what only some measures need, nor what only faces do."""
    lines = [
        "import sys, torch, igsref",
        "assert not [name for name in sys.modules if name.startswith('igsref.')]",
        "igsref.exact_igs",
        f"print([name for name in {SELDOM} if name in sys.modules])",
    ]
    shown = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"

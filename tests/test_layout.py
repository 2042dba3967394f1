"""The tests repeat the tree of the library: tests/x/test_y.py for igsref/x/y.py."""

from pathlib import Path

import igsref

ROOT = Path(__file__).resolve().parents[1]


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


def test_public_names_are_listed_once_in_order_and_documented():
    names = igsref.__all__
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), name))
    assert not [name for name in names if not getattr(igsref, name).__doc__]


def test_no_public_name_hides_a_module():
    modules = {path.stem for path in (ROOT / "igsref").iterdir()}
    assert not modules & set(igsref.__all__)

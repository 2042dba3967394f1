"""Hypothesis draws the same examples in each run, unless HYPOTHESIS_PROFILE=random asks for others.

Option ``--first-cases``: one case of each parametrized test.
"""

import os

import pytest
from hypothesis import settings

# Fewer examples than Hypothesis' own 100 keep the suite under its time; `random` takes all of them.
# No deadline: the first example of a test pays for imports and for whatever else the machine does.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=16)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

LONG = ("test_accuracy.py", "test_claims.py", "test_plan.py", "test_tall.py", "test_digits.py")
"""Files of half a minute and more begin first: none of them is left for one process alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--first-cases``."""
    parser.addoption(
        "--first-cases", action="store_true", help="of a parametrized test, its first case only"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first; the first case of each test alone, where that is asked for."""
    items.sort(key=lambda item: item.path.name not in LONG)
    if not config.getoption("--first-cases"):
        return
    first: dict[str, pytest.Item] = {}
    for item in items:
        first.setdefault(item.nodeid.partition("[")[0], item)
    kept = set(first.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = first.values()

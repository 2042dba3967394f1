"""One measurement for all tests of what is said about it."""

import pytest

import igsref
from igsref.report.findings import Findings, find
from tests.report.networks import images


@pytest.fixture(scope="session")
def findings() -> Findings:
    """Of the network of images: not saturated, its bracket wide, every section there."""
    return find(igsref.as_problem(*images()), None, 600.0)

"""What is installed and where it computes is said, and what is absent is no error."""

import json
from types import SimpleNamespace

import pytest
import torch

import igsref
from igsref.report import environment


def test_versions_are_those_that_run():
    found = environment.versions()
    assert found["igsref"] == igsref.__version__
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_a_package_that_is_absent_is_no_error(monkeypatch):
    monkeypatch.setattr(environment, "EXTRAS", ("no-such-package",))
    assert environment.versions()["no-such-package"] == "absent"


def test_the_machine_is_plain_values_and_has_words():
    found = environment.machine()
    assert json.loads(json.dumps(found)) == found
    card = {"name": "A card", "memory": 2**31}
    said = environment.in_words(found | {"cuda": [card, card], "libraries": []})
    assert said["processors, threads"].endswith(f", {torch.get_num_threads()}")
    assert said["CUDA devices"] == "A card, 2.0 GiB; A card, 2.0 GiB"
    assert said["linear algebra"] == "unknown"
    assert environment.in_words(found | {"cuda": []})["CUDA devices"] == "none"


def test_no_device_is_asked_what_starts_a_context_there(monkeypatch):
    def starts(*arguments):
        pytest.fail("this starts a CUDA context on a device that may never have been used")

    for name in ("mem_get_info", "current_device", "set_device", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, starts)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda k: SimpleNamespace(name=f"card {k}", total_memory=(k + 1) * 2**30),
    )
    assert environment.machine()["cuda"] == [
        {"name": "card 0", "memory": 2**30},
        {"name": "card 1", "memory": 2 * 2**30},
    ]


def test_a_library_without_a_version_has_its_name_alone(monkeypatch):
    found = [{"internal_api": "openmp", "version": None}, {"internal_api": "mkl", "version": "1"}]
    monkeypatch.setattr(environment, "threadpool_info", lambda: found)
    assert environment.machine()["libraries"] == ["mkl 1", "openmp"]

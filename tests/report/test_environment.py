"""What is installed and where it computes is said, and what is absent is no error."""

import json

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
    said = environment.in_words(found | {"cuda": {"A card": 2**31}, "libraries": []})
    assert said["processors, threads"].endswith(f", {torch.get_num_threads()}")
    assert said["CUDA devices"] == "A card, 2.0 GiB free"
    assert said["linear algebra"] == "unknown"
    assert environment.in_words(found | {"cuda": {}})["CUDA devices"] == "none"

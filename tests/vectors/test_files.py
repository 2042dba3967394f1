"""Files come back as the vectors that they were written from; others are refused by name."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from igsref.vectors import VectorError, load, write
from igsref.vectors.files import load_vector, save
from tests.vectors.cases import NAME, small_vector, stored


def test_a_vector_comes_back_from_its_files(tmp_path):
    vector = small_vector()
    save(tmp_path, vector)
    (again,) = load(tmp_path)
    assert again.name == vector.name
    assert again.tags == vector.tags
    assert again.likelihood == vector.likelihood
    assert again.expected == vector.expected
    assert again.labels.dtype == torch.int64
    assert torch.equal(again.labels, vector.labels)
    assert torch.equal(again.inputs, vector.inputs)
    assert torch.equal(again.model(again.inputs), vector.model(vector.inputs))


def test_vectors_come_by_name(tmp_path):
    for name in ("b", "a", "c"):
        save(tmp_path, small_vector())
        for suffix in (".json", ".safetensors"):
            (tmp_path / f"{NAME}{suffix}").rename(tmp_path / f"{name}{suffix}")
    assert [vector.name for vector in load(str(tmp_path))] == ["a", "b", "c"]


def test_writing_computes_the_values_anew(tmp_path):
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.mkdir()
    values = stored(source)
    right = (source / f"{NAME}.json").read_bytes()
    values["expected"]["igs"][0] = "0"
    (source / f"{NAME}.json").write_text(json.dumps(values))
    (written,) = write(target, source)
    assert written.expected.igs == small_vector().expected.igs
    assert (target / f"{NAME}.json").read_bytes() == right
    for name in (f"{NAME}.safetensors",):
        assert (target / name).read_bytes() == (source / name).read_bytes()


def test_the_directory_must_hold_vectors(tmp_path):
    with pytest.raises(FileNotFoundError, match="directory must hold vectors; there is none at"):
        load(tmp_path / "nowhere")
    with pytest.raises(VectorError, match=r"must hold NAME\.json and NAME\.safetensors; got"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_both_halves_are_needed(tmp_path, suffix):
    stored(tmp_path)
    (tmp_path / f"{NAME}{suffix}").unlink()
    with pytest.raises(VectorError, match=rf"must hold {NAME}\{suffix}, the other half of {NAME}"):
        load(tmp_path)


def refused(folder, message):
    with pytest.raises(VectorError, match=rf"(?s)^{NAME}\.{message}"):
        load_vector(folder, NAME)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["format"], "igs", "format must be 'igsref vector'; got str 'igs'"),
        (["version"], 2, "version must be 1, .*; got int 2"),
        (["tags"], [1], "tags must be a list of strings; got a list of int"),
        (["likelihood"], "poisson", "likelihood must be one of .*; got str 'poisson'"),
        (["layers"], {}, "layers must be a list; got"),
        (["layers", 0], "linear", r"layers\[0\] must be an object; got str 'linear'"),
        (["layers", 0, "kind"], "rnn", r"layers\[0\]: kind must be one of .*; got 'rnn'"),
        (["expected"], None, "expected must be an object; got None"),
        (["expected", "rank"], -1, "expected: rank must be an integer from 0 on; got int -1"),
        (["expected", "igs"], 2.5, r"expected: igs must be \[lower, upper\], .*; got float 2.5"),
        (["expected", "igs"], ["1"], r"expected: igs must be \[lower, upper\]"),
        (["expected", "igs"], ["2", "1"], "expected: igs must be .*; lower must not exceed upper"),
        (["expected", "igs"], ["1", "1/0"], r"expected: igs must be .*; got \['1', '1/0'\]"),
        (["expected", "ceiling"], ["1", "1e999999999"], "expected: ceiling must be .*; got"),
        (["expected", "per_sample"], [], "expected: per_sample must have 4 entries; got 0"),
        (["expected", "per_sample", 2], 1, r"expected: per_sample: 2 must be \[lower, upper\]"),
        (["expected", "eigenvalues"], [["1", "1"]], "eigenvalues must have 6 entries; got 1"),
        (
            ["expected", "minibatch"],
            {"5": ["1", "1"]},
            "expected: minibatch must have batch sizes from 1 to 4; got '5'",
        ),
        (["expected", "igs"], ["-2", "-1"], "expected: igs must be in the order 0 ≤ full_batch"),
        (["expected", "ceiling"], ["0", "1e-9"], "expected: ceiling must be in the order .* got"),
        (["expected", "more"], 1, "expected must have the fields .*; got 'more' too"),
    ],
)
def test_malformed_descriptions_name_file_and_field(tmp_path, place, value, message):
    values = stored(tmp_path)
    inner = values
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (tmp_path / f"{NAME}.json").write_text(json.dumps(values))
    refused(tmp_path, f"json.*{message}")


def test_text_nested_without_end_is_refused(tmp_path):
    stored(tmp_path)
    (tmp_path / f"{NAME}.json").write_text("[" * 10**5)
    refused(tmp_path, "json must be JSON")


@pytest.mark.parametrize("name", ["format", "expected"])
def test_missing_fields_are_named(tmp_path, name):
    values = stored(tmp_path)
    del values[name]
    (tmp_path / f"{NAME}.json").write_text(json.dumps(values))
    refused(tmp_path, f"json must have the field '{name}'; got")


def test_a_description_is_json_in_utf_8(tmp_path):
    stored(tmp_path)
    for content in (b"{", b"\xff\xfe", b"[]"):
        (tmp_path / f"{NAME}.json").write_bytes(content)
        refused(tmp_path, "json must be (JSON in UTF-8|an object)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": None}, "must hold the tensor 'inputs'; got"),
        ({"0.weight": None}, "weight must name a tensor of the file; got '0.weight'"),
        ({"more": torch.zeros(2).double()}, "must hold tensors that a layer names; got 'more'"),
        ({"0.bias": torch.zeros(3)}, "0.bias must be of F64; got torch.float32"),
        ({"0.bias": torch.full((3,), torch.inf).double()}, "0.bias must be finite; got"),
        ({"inputs": torch.zeros(4, 5).double()}, "inputs must fit the layers; "),
        ({"labels": torch.zeros(3).double()}, "labels must be 4 class numbers, whole ones; got"),
        ({"labels": torch.full((4,), 0.5).double()}, "labels must be 4 class numbers"),
        ({"labels": torch.full((4,), 3.0).double()}, "labels must be from 0 to 2; got 3 to 3"),
    ],
)
def test_malformed_tensors_name_file_and_tensor(tmp_path, change, message):
    stored(tmp_path)
    path = tmp_path / f"{NAME}.safetensors"
    tensors = {**load_file(path), **change}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    refused(tmp_path, f"(safetensors|json).*{message}")


def test_labels_of_other_likelihoods_have_the_shape_of_the_logits(tmp_path):
    values = stored(tmp_path) | {"likelihood": "gaussian"}
    (tmp_path / f"{NAME}.json").write_text(json.dumps(values))
    refused(tmp_path, r"safetensors: labels must have the logits' shape \(4, 3\)")


class Trap:
    """What its pickle would run leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return self.mark.touch, ()


def test_nothing_is_unpickled(tmp_path):
    folder = tmp_path / "vectors"
    folder.mkdir()
    stored(folder)
    mark = tmp_path / "unpickled"
    (folder / f"{NAME}.safetensors").write_bytes(pickle.dumps(Trap(mark)))
    refused(folder, "safetensors must be a safetensors file; ")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists()

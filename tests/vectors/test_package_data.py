"""The vectors that come with the package: what they cover, and that they are right."""

import json
import re
import warnings
from fractions import Fraction
from pathlib import Path

import pytest
from flint import arb, ctx

import igsref
from igsref.vectors import load
from igsref.vectors.expected import renewed
from igsref.vectors.files import PACKAGE_DATA, save
from verification.networks import ACTIVATIONS, PIECEWISE_LINEAR, as_lists, linear_layers
from verification.oracle import truth
from verification.vector_networks import CASES, require_off_kinks

MOST_BYTES = 2_000_000
VECTORS = load()
DECIDED = [vector for vector in VECTORS if vector.expected.rank is not None]
DEVIATION = 1e-13
"""Relative, of exact_igs from the value; docs/vectors.md prints it."""
RENEWED = (
    *("batch-norm-fixed", "batch-norm-tall", "convolution", "extreme-1"),
    *("gaussian-linear", "tied-weight"),
)
TOLD_BY_ORACLE = ("badly-scaled-3", "extreme-0", "mlp-gelu-tall", "rank-deficient-3")

COVERED = {
    *("relu", "leaky_relu", "tanh", "sigmoid", "silu", "gelu", "convolution", "batch-norm"),
    *("tied", "rank-deficient", "rows-above-parameters", "rows-up-to-parameters", "confident"),
    *("misclassified", "badly-scaled", "duplicated", "bernoulli", "gaussian", "categorical"),
    *(f"outputs-{count}" for count in range(1, 11)),
}


def named(name):
    return next(vector for vector in VECTORS if vector.name == name)


def test_the_example_of_the_page_is_the_file():
    page = Path(__file__).resolve().parents[2] / "docs" / "vectors.md"
    (block,) = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    stored = json.loads((PACKAGE_DATA / "one-sample.json").read_text(encoding="utf-8"))
    assert json.loads(block) == {**stored, "tags": []}


def test_the_page_s_program_prints_vectors(capsys, monkeypatch):
    page = Path(__file__).resolve().parents[2] / "docs" / "vectors.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setattr(igsref.vectors, "load", lambda: VECTORS[:1])
    exec(block, {})
    printed = capsys.readouterr().out
    for seen in (VECTORS[0].name, VECTORS[0].model, VECTORS[0].expected.igs):
        assert str(seen) in printed


def test_undecided_ranks_are_tagged_and_no_others():
    tagged = [vector.name for vector in VECTORS if "rank-undecided" in vector.tags]
    assert tagged == [vector.name for vector in VECTORS if vector.expected.rank is None]


def test_every_tag_is_on_the_page():
    text = (Path(__file__).resolve().parents[2] / "docs" / "vectors.md").read_text(encoding="utf-8")
    tags = {re.sub(r"outputs-\d+", "outputs-C", tag) for vector in VECTORS for tag in vector.tags}
    assert not {tag for tag in tags if f"`{tag}`" not in text}


def test_there_are_enough_and_they_are_small():
    assert len(VECTORS) >= 40
    assert sum(path.stat().st_size for path in PACKAGE_DATA.iterdir()) <= MOST_BYTES
    assert [vector.name for vector in VECTORS] == sorted(CASES)


def test_every_topic_has_its_vectors():
    tags = {tag for vector in VECTORS for tag in vector.tags}
    assert tags >= COVERED
    assert len(DECIDED) >= 40
    for case in (vector for vector in VECTORS if vector.name in CASES):
        assert set(CASES[case.name].tags) <= set(case.tags)


def test_no_pre_activation_is_at_its_kink():
    for vector in VECTORS:
        require_off_kinks(vector.name, vector.model, vector.inputs)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_brackets_of_float64_hold_the_proven_value(vector):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        data = vector.inputs, vector.labels
        result = igsref.exact_igs(vector.model, data, likelihood=vector.likelihood)
    expected = vector.expected
    low, high = expected.igs.fractions
    assert Fraction(result.lower) <= high
    assert low <= Fraction(result.upper)
    if expected.rank is not None:
        assert Fraction(result.lower) <= low <= high <= Fraction(result.upper)
        assert result.rank == expected.rank
        assert result.rank_lower <= expected.rank <= result.rank_upper
    # Where the rank is undecided, too: the lower end is the IGS if the proven directions are all.
    assert abs(Fraction(result.value) - low) <= Fraction(DEVIATION) * low


@pytest.mark.parametrize("name", RENEWED)
def test_the_values_come_again_bit_for_bit(name, tmp_path):
    save(tmp_path, renewed(named(name)))
    for suffix in (".json", ".safetensors"):
        assert (tmp_path / f"{name}{suffix}").read_bytes() == (
            PACKAGE_DATA / f"{name}{suffix}"
        ).read_bytes()


@pytest.mark.parametrize("name", TOLD_BY_ORACLE)
def test_the_oracle_says_the_same(name):
    """Another implementation in balls, by the definition of IGS with F formed and eliminated."""
    vector, expected = named(name), named(name).expected
    kinds = {type(module) for module in vector.model} - {type(linear_layers(vector.model)[0])}
    assert kinds <= set(ACTIVATIONS) | set(PIECEWISE_LINEAR)
    told = truth(*as_lists(vector))
    assert told.rank == expected.rank
    with ctx.workprec(400):
        pairs = [(told.value, expected.igs), (told.full_batch, expected.full_batch)]
        pairs += list(zip(told.per_sample, expected.per_sample, strict=True))
        for ball, value in pairs:
            ends = [arb(end.numerator) / end.denominator for end in value.fractions]
            assert ends[0] <= ball.upper()
            assert ball.lower() <= ends[1]


def test_per_sample_terms_have_the_igs_as_their_mean():
    for vector in DECIDED:
        ends = zip(*(term.fractions for term in vector.expected.per_sample), strict=True)
        low, high = (sum(end) / len(vector.inputs) for end in ends)
        own_low, own_high = vector.expected.igs.fractions
        assert low <= own_high, vector.name
        assert own_low <= high, vector.name

"""The result: what it holds, prints and stores."""

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import igsref
from tests.strategies import architecture, classes, fill_, gaussian


@pytest.fixture
def result() -> igsref.Result:
    model, x, y = architecture("MLP with tanh", 0, 30)
    return igsref.exact_igs(model, (x, y))


def test_json_brings_back_every_bit(result):
    again = igsref.Result.from_json(result.to_json())
    assert again == result
    assert torch.equal(again.per_sample, result.per_sample)
    assert hash(again) == hash(result)


def test_json_brings_back_a_result_with_a_pool():
    model, x, y = architecture("MLP with tanh", 0, 5)
    result = igsref.exact_igs(model, (x, y), fisher_data=gaussian(9, 30, 3))
    again = igsref.Result.from_json(result.to_json())
    assert again == result
    assert (again.num_samples, again.pool_size, again.num_rows) == (5, 35, 70)
    assert again.per_sample.shape == (5,)
    assert "5 in a pool of 35" in str(again)


def test_dict_is_plain_python(result):
    values = result.to_dict()
    assert values["num_samples"] == 30
    assert json.loads(json.dumps(values)) == values


@pytest.mark.parametrize("text", ["[]", "{}", '{"value": 1.0}'])
def test_foreign_json_is_refused(text):
    with pytest.raises(ValueError, match="text must hold the fields"):
        igsref.Result.from_json(text)


def test_float_is_the_value(result):
    assert float(result) == result.value


def test_report_names_what_a_reader_needs(result):
    text = str(result)
    for word in ("IGS", "IGS / N", "ceiling", "saturation", "rank", "training loss", "heaviest"):
        assert word in text
    assert "(F lacks full row rank)" in text


def test_report_says_where_full_row_rank_is_open(result):
    assert "(full row rank not shown)" in str(replace(result, rank_upper=result.num_rows))


def test_report_gives_no_mean_where_f_is_of_a_pool():
    model, x, y = architecture("MLP with tanh", 0, 30)
    pooled = igsref.exact_igs(model, (x, y), fisher_data=gaussian(1, 10, *x.shape[1:]))
    assert "IGS / N" not in str(pooled)


def test_report_says_what_closes_an_open_bracket():
    # ReLU6 is not homogeneous, and dead units hide that the rank is below m.
    model = fill_(nn.Sequential(nn.Linear(2, 9), nn.ReLU6(), nn.Linear(9, 3)).double(), 0)
    data = gaussian(1, 60, 2), classes(2, 60, 3)
    result = igsref.exact_igs(model, data)
    assert result.upper > 1.1 * result.value
    assert f"rank_bound={result.rank} takes it on your word" in str(result)
    told = igsref.exact_igs(model, data, rank_bound=result.rank)
    assert told.upper < 1.001 * told.value
    assert "on your word" not in str(told)


def test_a_notebook_shows_the_same_words(result):
    rows = ElementTree.fromstring(result._repr_html_()).iter("tr")
    shown = [f"{name.text:<18} {said.text}" for name, said in rows]
    assert shown == str(result).splitlines()


def test_report_says_that_saturation_is_shown():
    model, x, y = architecture("MLP with tanh", 0, 4)
    text = str(igsref.exact_igs(model, (x, y)))
    assert "full row rank" in text
    assert "function of the losses alone" in text


def test_heaviest_samples_come_first_and_are_shares(result):
    shares = [share for _, share in result.heaviest(30)]
    assert shares == sorted(shares, reverse=True)
    assert math.fsum(shares) == pytest.approx(1.0, rel=1e-12)
    sample, share = result.heaviest()[0]
    assert share == pytest.approx(float(result.per_sample[sample]) / 30 / result.value, rel=1e-12)


def test_minibatch_of_one_is_the_igs_and_of_all_is_the_full_batch(result):
    assert float(result.minibatch(1)) == pytest.approx(result.value, rel=1e-15)
    assert float(result.minibatch(30)) == pytest.approx(float(result.full_batch), rel=1e-15)


def test_equal_results_only_for_equal_numbers(result):
    model, x, y = architecture("MLP with tanh", 1, 30)
    assert igsref.exact_igs(model, (x, y)) != result
    assert result != "a result"


def test_a_negative_count_of_samples_is_refused(result):
    with pytest.raises(ValueError, match=r"count must be at least 0; got -1"):
        result.heaviest(-1)


def test_a_sample_that_holds_most_of_the_ceiling_is_told(result):
    assert result.dominant_sample() is None
    ceiling, score = result.sample_ceiling.clone(), result.per_sample.clone()
    ceiling[3], score[3] = 9 * ceiling.sum(), 0.0
    heavy = replace(result, sample_ceiling=ceiling, per_sample=score)
    sample, share, rest = heavy.dominant_sample()
    others = [k for k in range(result.num_samples) if k != 3]
    assert (sample, share) == (3, float(ceiling[3] / ceiling.sum()))
    assert rest == pytest.approx(float(score[others].sum() / ceiling[others].sum()), rel=1e-12)
    assert f"{rest:.4g} without #3, which holds {100 * share:.3g}% of the ceiling" in str(heavy)
    assert replace(heavy, saturated=True).dominant_sample() is None

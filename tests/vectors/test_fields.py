"""Fields of the wrong kind are refused by name, with what was there and what was expected."""

import pytest

from igsref.vectors.fields import Fields, VectorError

FIELDS = Fields(
    "a.json: layers[2]",
    {"text": "tanh", "number": 0.5, "whole": 3, "list": [1, 2], "null": None, "object": {"a": 1}},
)


def test_fields_are_read():
    assert FIELDS.text("text") == "tanh"
    assert FIELDS.optional_text("text") == "tanh"
    assert FIELDS.optional_text("null") is None
    assert FIELDS.number("number") == 0.5
    assert FIELDS.number("whole") == 3.0
    assert FIELDS.integer("whole", 3) == 3
    assert FIELDS.integers("list", 2) == (1, 2)
    assert FIELDS.entries("list") == [1, 2]
    assert FIELDS.object("object").where == "a.json: layers[2]: object"
    assert FIELDS.object("object").integer("a") == 1


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda f: f.text("number"), "number must be a string; got float 0.5"),
        (lambda f: f.number("text"), "text must be a number; got str 'tanh'"),
        (lambda f: f.integer("number"), "number must be an integer from 0 on; got float 0.5"),
        (lambda f: f.integer("whole", 4), "whole must be an integer from 4 on; got int 3"),
        (lambda f: f.integers("list", 3), r"list must be a list of 3 integers .*; got \[1, 2\]"),
        (lambda f: f.integers("list", 2, 2), "integers from 2 on"),
        (lambda f: f.entries("text"), "text must be a list; got str 'tanh'"),
        (lambda f: f.object("list"), "list must be an object; got a list of int"),
        (lambda f: f.objects("list"), r"list\[0\] must be an object; got int 1"),
    ],
)
def test_another_kind_is_refused(read, message):
    with pytest.raises(VectorError, match=rf"^a\.json: layers\[2\].*{message}"):
        read(FIELDS)


@pytest.mark.parametrize("value", [True, float("nan"), float("inf")])
def test_truth_values_and_what_is_not_finite_are_no_numbers(value):
    fields = Fields("a.json", {"x": value})
    with pytest.raises(VectorError, match=r"a\.json: x must be a (finite )?number"):
        fields.number("x")
    with pytest.raises(VectorError, match="x must be an integer"):
        fields.integer("x")


def test_the_fields_are_exactly_those_of_the_format():
    fields = Fields("a.json", {"x": 1, "y": 2})
    fields.only("x", "y")
    with pytest.raises(VectorError, match=r"a\.json must have the field 'z'; got \['x', 'y'\]"):
        fields.only("x", "y", "z")
    with pytest.raises(VectorError, match=r"must have the fields \['x'\]; got 'y' too"):
        fields.only("x")

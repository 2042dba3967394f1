"""What is drawn at random: outputs of a network and the labels that go with them."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

laws = settings(max_examples=60)
"""The settings of every property test of a likelihood."""

_UNITS = (2.0**-30, 2.0**-4, 0.25, 1.0, 5.0)
_LARGEST = 64


def matrices(rows, columns, entries):
    """Float64 matrices of drawn entries."""
    row = st.lists(entries, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows).map(
        lambda values: torch.tensor(values, dtype=torch.float64)
    )


@st.composite
def logits(draw, min_classes=2, max_classes=5):
    """(N, C), integer multiples of one unit: differences up to 640, ties among them."""
    size = draw(st.integers(1, 3)), draw(st.integers(min_classes, max_classes))
    unit = draw(st.sampled_from(_UNITS))
    return unit * draw(matrices(*size, st.integers(-_LARGEST, _LARGEST)))


@st.composite
def hard(draw, min_classes=2, max_classes=5):
    """Logits and class indices."""
    f = draw(logits(min_classes, max_classes))
    classes = st.integers(0, f.shape[1] - 1)
    return f, torch.tensor(draw(st.lists(classes, min_size=len(f), max_size=len(f))))


@st.composite
def soft(draw):
    """Logits and class probabilities, some of them 0."""
    f = draw(logits())
    weight = draw(matrices(*f.shape, st.integers(0, 16)))
    weight[:, 0] += weight.sum(dim=1) == 0
    return f, weight / weight.sum(dim=1, keepdim=True)


@st.composite
def switches(draw, outputs=3):
    """Logits of independent yes-or-no outputs, and the probability of a 1 for each."""
    f = draw(logits(min_classes=1, max_classes=outputs))
    return f, draw(matrices(*f.shape, st.integers(0, 4))) / 4

"""Put a measure to the test: does it survive a change of parameters?

    import igsref.testing
    igsref.testing.assert_invariant(measure, transformation="node scaling")

draws networks and transformations and holds the measure to the law; ``igsref.testing.row`` gives
its row of the invariance matrix; ``igsref.testing.strategies`` draws cases for Hypothesis.
"""

from igsref.testing.laws import Case, Deviation, assert_invariant, check, deviation, draw_cases
from igsref.testing.matrix import Cell, Row, cell, draw_pairs, matrix_text, row
from igsref.testing.networks import FAMILIES, Network, draw_network
from igsref.testing.transformations import TRANSFORMATIONS, Transformation, Transformed

__all__ = [
    "FAMILIES",
    "TRANSFORMATIONS",
    "Case",
    "Cell",
    "Deviation",
    "Network",
    "Row",
    "Transformation",
    "Transformed",
    "assert_invariant",
    "cell",
    "check",
    "deviation",
    "draw_cases",
    "draw_network",
    "draw_pairs",
    "matrix_text",
    "row",
]

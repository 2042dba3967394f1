"""Hold somebody's own implementation of IGS to the reference vectors and to the law of invariance.

    igsref check PACKAGE.MODULE:FUNCTION

FUNCTION is f(model, data) -> number, data a pair (inputs, labels). It is named in the verdict where
it raises, and never ends the run.
"""

from igsref.conformance.invariance import Breach, Law, laws
from igsref.conformance.scores import RIGHT_DIGITS, Score, score
from igsref.conformance.summary import Conformance, conformance, report
from igsref.conformance.twins import badly_scaled

__all__ = [
    "RIGHT_DIGITS",
    "Breach",
    "Conformance",
    "Law",
    "Score",
    "badly_scaled",
    "conformance",
    "laws",
    "report",
    "score",
]

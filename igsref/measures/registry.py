"""All measures under their names: the IGS, the published ones beside it, information criteria."""

import difflib
from typing import Any, Unpack

from igsref.measures.criteria import aic, fisher_tic, tic
from igsref.measures.igs import exact_igs
from igsref.measures.measurement import INVARIANCES, Measure, Measurement
from igsref.measures.result import Result
from igsref.measures.sharpness.average_case import (
    ADAPTIVE_AVERAGE_CASE_SHARPNESS,
    AVERAGE_CASE_SHARPNESS,
)
from igsref.measures.sharpness.fisher_rao import EMPIRICAL_FISHER_RAO, FISHER_RAO
from igsref.measures.sharpness.hessian_norms import HESSIAN_NORM, HESSIAN_TRACE
from igsref.measures.sharpness.keskar import KESKAR_SHARPNESS
from igsref.measures.sharpness.norms import FROBENIUS_NORM, GRADIENT_NORM, PATH_NORM
from igsref.measures.sharpness.petzka import (
    MAXIMAL_RELATIVE_FLATNESS,
    RELATIVE_FLATNESS,
    STANDARDIZED_MAXIMAL_RELATIVE_FLATNESS,
    STANDARDIZED_RELATIVE_FLATNESS,
)
from igsref.measures.sharpness.rangamani import RANGAMANI_NORM, RANGAMANI_TRACE
from igsref.measures.sharpness.sam import ASAM_SHARPNESS, SAM_SHARPNESS
from igsref.measures.sharpness.tsuzuku import NORMALIZED_SHARPNESS
from igsref.measures.sharpness.worst_case import (
    ADAPTIVE_WORST_CASE_LINF_SHARPNESS,
    ADAPTIVE_WORST_CASE_SHARPNESS,
    WORST_CASE_LINF_SHARPNESS,
    WORST_CASE_SHARPNESS,
)
from igsref.problem import ProblemOptions

_JANG = "Jang, Lee, Park, Noh, NeurIPS 2022"


def igs(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Measurement:
    """IGS as a measurement: :func:`igsref.exact_igs` without the rest of its result."""
    return igs_of(exact_igs(model, data, memory=memory, **options))


def igs_of(result: Result) -> Measurement:
    """The IGS of a result, with the wider side of its bracket."""
    wider = max(result.upper - result.value, result.value - result.lower)
    return Measurement(result.value, wider, "enclosed", (result.lower, result.upper))


IGS = Measure(name="IGS", source=_JANG, compute=igs, promised=frozenset(INVARIANCES))

SHARPNESS: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        IGS,
        HESSIAN_TRACE,
        HESSIAN_NORM,
        FISHER_RAO,
        EMPIRICAL_FISHER_RAO,
        RANGAMANI_NORM,
        RANGAMANI_TRACE,
        RELATIVE_FLATNESS,
        MAXIMAL_RELATIVE_FLATNESS,
        STANDARDIZED_RELATIVE_FLATNESS,
        STANDARDIZED_MAXIMAL_RELATIVE_FLATNESS,
        NORMALIZED_SHARPNESS,
        KESKAR_SHARPNESS,
        SAM_SHARPNESS,
        ASAM_SHARPNESS,
        WORST_CASE_SHARPNESS,
        ADAPTIVE_WORST_CASE_SHARPNESS,
        WORST_CASE_LINF_SHARPNESS,
        ADAPTIVE_WORST_CASE_LINF_SHARPNESS,
        AVERAGE_CASE_SHARPNESS,
        ADAPTIVE_AVERAGE_CASE_SHARPNESS,
        GRADIENT_NORM,
        FROBENIUS_NORM,
        PATH_NORM,
    )
}
"""Name → measure of sharpness or flatness."""

CRITERIA: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(name="IGS/N", source=_JANG, compute=fisher_tic, promised=frozenset(INVARIANCES)),
        Measure(name="TIC", source="Takeuchi, Suri-Kagaku 153, 1976", compute=tic),
        Measure(
            name="AIC",
            source="Akaike, IEEE Transactions on Automatic Control 19, 1974",
            compute=aic,
            promised=frozenset(INVARIANCES),
        ),
    )
}
"""Name → estimate of the generalisation gap, in nats per sample."""

MEASURES: dict[str, Measure] = SHARPNESS | CRITERIA
"""Name → measure."""


def find_measure(measure: str | Measure) -> Measure:
    """The measure of that name, or the object itself.

    Raises ValueError for a name that there is not, with those that there are; TypeError for
    anything else.
    """
    if isinstance(measure, Measure):
        return measure
    if not isinstance(measure, str):
        raise TypeError(f"measures must be names or Measures; got {measure!r}")
    if measure not in MEASURES:
        close = difflib.get_close_matches(measure, MEASURES, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"measures must be among {sorted(MEASURES)}; got {measure!r}{hint}")
    return MEASURES[measure]

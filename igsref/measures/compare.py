"""Many measures of one network, from one problem, geometry and Hessian, as a table."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, SupportsFloat, Unpack

from igsref.geometry.access import as_geometry
from igsref.geometry.geometry import Geometry
from igsref.measures.criteria import criterion_of
from igsref.measures.igs import exact_igs
from igsref.measures.measurement import Measure, Measurement
from igsref.measures.registry import MEASURES, find_measure, igs_of
from igsref.measures.result import Result
from igsref.notebook import html_table
from igsref.problem import Problem, ProblemOptions, as_problem, refuse_one_shot
from igsref.progress import interruptible

_OF_THE_RESULT: dict[str, Callable[[Result], Measurement]] = {
    "IGS": igs_of,
    "IGS/N": criterion_of,
    "IGS ceiling": lambda result: Measurement(result.ceiling, kind="enclosed"),
    "training loss": lambda result: Measurement(result.loss),
}
"""What one result holds already."""

_NEGLIGIBLE = 1e-7
"""An uncertainty that six digits do not show, relative."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Measures of one network. result: of the IGS, if it was asked for.

    measurements: name → value with uncertainty. refused: name → why it is not defined here.
    """

    result: Result | None
    measurements: dict[str, Measurement]
    refused: dict[str, str]

    def __getitem__(self, name: str) -> Measurement:
        return self.measurements[name]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Name → value, uncertainty, kind, bracket; plain Python values."""
        return {
            name: {
                "value": measured.value,
                "uncertainty": measured.uncertainty,
                "kind": measured.kind,
                "bracket": measured.bracket,
            }
            for name, measured in self.measurements.items()
        }

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict())

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row a measure. Raises ImportError without pandas."""
        import pandas

        return pandas.DataFrame.from_dict(self.to_dict(), orient="index")

    def __str__(self) -> str:
        return side_by_side({"value": self})

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        rows = [(name, _cell(measured)) for name, measured in self.measurements.items()]
        return html_table(rows, below=_left_out({"value": self}))


def compare(
    model: Any,
    data: Any = None,
    *,
    measures: Sequence[str | Measure] | None = None,
    memory: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Comparison:
    """Chosen measures of a model on data, from one problem, one geometry and one Hessian.

    measures: names in ``igsref.MEASURES``, "IGS/N", "IGS ceiling", "training loss", or Measures of
        your own, which are called with model, data and options as given here. All of them unless
        given; then those that are not defined for this network are listed with the reason. A
        measure that was asked for by name raises it.
    memory, options: as for :func:`igsref.exact_igs`.

    Raises TypeError or ValueError for a measure that there is not, and what the measures raise.

    >>> import torch
    >>> model = torch.nn.Linear(2, 3)
    >>> data = torch.eye(2), torch.tensor([0, 1])
    >>> list(compare(model, data, measures=["IGS", "IGS/N"]).measurements)
    ['IGS', 'IGS/N']
    """
    chosen = _chosen(measures)
    if any(_is_own(measure) for measure in chosen.values()):
        refuse_one_shot(data, "compare")
    held: Geometry | Problem = (
        as_geometry(model, data, memory=memory, **options)
        if isinstance(model, Geometry) or any(name in _OF_THE_RESULT for name in chosen)
        else as_problem(model, data, **options)
    )
    result = None
    if any(name in _OF_THE_RESULT for name in chosen):
        result = exact_igs(held)
    measurements: dict[str, Measurement] = {}
    refused: dict[str, str] = {}
    with interruptible("measures", len(chosen), "none of them is kept") as shown:
        for name, measure in shown(chosen.items()):
            if measure is None:
                assert result is not None
                measurements[name] = _OF_THE_RESULT[name](result)
                continue
            try:
                arguments = dict(options) if _is_own(measure) else {}
                if memory is not None and "memory" in signature(measure.compute).parameters:
                    arguments["memory"] = memory
                given = (model, data) if _is_own(measure) else (held,)
                measurements[name] = _as_measurement(measure.compute(*given, **arguments))
            except (TypeError, ValueError, MemoryError, ArithmeticError) as error:
                if measures is not None:
                    raise
                refused[name] = str(error)
    return Comparison(result, measurements, refused)


def _is_own(measure: Measure | None) -> bool:
    """Whether it is the user's: it gets model, data and options as they were given."""
    return measure is not None and MEASURES.get(measure.name) is not measure


def _as_measurement(found: SupportsFloat) -> Measurement:
    return found if isinstance(found, Measurement) else Measurement(float(found))


def _chosen(measures: Sequence[str | Measure] | None) -> dict[str, Measure | None]:
    """Name → measure, None for what the result holds."""
    if measures is None:
        return {name: None for name in _OF_THE_RESULT} | {
            name: measure for name, measure in MEASURES.items() if name not in _OF_THE_RESULT
        }
    if isinstance(measures, str) or not isinstance(measures, Sequence) or not measures:
        raise TypeError(f"measures must be a non-empty list of names or Measures; got {measures!r}")
    named: dict[str, Measure | None] = {}
    for measure in measures:
        name = measure if isinstance(measure, str) else getattr(measure, "name", None)
        if name in _OF_THE_RESULT and measure in (name, MEASURES.get(name)):
            named[name] = None
            continue
        found = find_measure(measure)
        if named.get(found.name, found) is not found:
            raise ValueError(f"measures must have different names; got {found.name!r} twice")
        named[found.name] = found
    return named


def side_by_side(comparisons: Mapping[str, Comparison]) -> str:
    """Comparisons of several networks side by side, a column each under the names given.

    "in [ ]" is a bracket; ± one standard error of what was sampled, or the proven gap of what was
    minimised; + the spread of the starts of what was maximised. What six digits do not show is left
    out.

    Raises ValueError without a comparison.
    """
    if not comparisons:
        raise ValueError("comparisons must hold at least one, under the name of its column; got {}")
    if not isinstance(comparisons, Mapping):
        raise TypeError(
            f"comparisons must be a mapping from names; got {type(comparisons).__name__}"
        )
    names = list(dict.fromkeys(name for c in comparisons.values() for name in c.measurements))
    rows = [["measure", *comparisons]]
    for name in names:
        cells = [_cell(c.measurements.get(name)) for c in comparisons.values()]
        rows.append([name, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *_left_out(comparisons)])


def _left_out(comparisons: Mapping[str, Comparison]) -> list[str]:
    """A line for each reason, with the columns that it is about unless it is all of them."""
    where: dict[tuple[str, str], list[str]] = {}
    for column, comparison in comparisons.items():
        for reason in comparison.refused.items():
            where.setdefault(reason, []).append(column)
    return [
        f"not defined {'here' if len(columns) == len(comparisons) else 'for ' + ', '.join(columns)}"
        f": {name}: {why}"
        for (name, why), columns in where.items()
    ]


def _cell(measured: Measurement | None) -> str:
    if measured is None:
        return "–"
    shown = f"{measured.value:.6g}"
    if measured.uncertainty <= _NEGLIGIBLE * abs(measured.value):
        return shown
    if measured.bracket:
        return f"{shown} in [{measured.bracket[0]:.6g}, {measured.bracket[1]:.6g}]"
    sign = "+" if measured.kind == "maximised" else "±"
    return f"{shown} {sign} {measured.uncertainty:.1g}"

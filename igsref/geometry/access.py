"""One door to the geometry: a Geometry as it is, or one made of a Problem or of (model, data)."""

from typing import Any, Unpack

import torch

from igsref.geometry.geometry import Geometry
from igsref.geometry.plan import STREAMED, plan_of
from igsref.geometry.tall import streamed_tall_geometry, tall_geometry
from igsref.geometry.wide import wide_geometry
from igsref.jacobian.columns import column_ranges
from igsref.memory import check_budget
from igsref.problem import ProblemOptions, as_problem


def as_geometry(
    model: Any, data: Any = None, *, memory: int | None = None, **options: Unpack[ProblemOptions]
) -> Geometry:
    """The geometry of a model on data; one computed geometry serves every measure.

    model: a module or pair with data, or a Problem, or a Geometry (then nothing is computed).
    memory: budget in bytes (2 GiB, or what is free if that is less).
    options: as for ``igsref.as_problem``.

    Raises TypeError for anything beside a Geometry, for a memory that is no integer and as
    ``igsref.as_problem``; ValueError likewise; MemoryError, with the sizes, where the factor does
    not fit.
    """
    if isinstance(model, Geometry):
        if data is not None or options or memory is not None:
            raise TypeError("a Geometry already holds its data and options; give it alone")
        return model
    check_budget(memory, torch.device("cpu"))  # a budget that is none, before any work
    problem = as_problem(model, data, **options)
    planned = plan_of(problem, memory)
    planned.require()
    if problem.num_rows > problem.num_parameters:
        if planned.route == STREAMED:
            return streamed_tall_geometry(problem, planned.at_once, planned.route)
        return tall_geometry(problem, planned.route)
    return wide_geometry(problem, column_ranges(problem, planned.at_once), planned.route)

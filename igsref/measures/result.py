"""The result of a measurement: numbers, and what is known about how exact they are."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float64
from torch import Tensor

from igsref.arguments import checked_integer
from igsref.enclosure import Enclosure, Grade
from igsref.geometry.krylov import Step
from igsref.measures.minibatch import minibatch_igs
from igsref.notebook import html_table
from igsref.problem import Problem

_HEAVIEST = 10
_CLOSED = 1e-3
"""A bracket of this width, relative to the value, leaves a reader nothing to ask for."""


def problem_fields(problem: Problem) -> dict[str, Any]:
    """The fields of a :class:`Result` that no measurement is needed for."""
    return {
        "loss": float(problem.likelihood.loss(problem.labelled_logits, problem.targets).mean()),
        "num_samples": problem.num_samples,
        "pool_size": problem.pool_size,
        "num_classes": problem.num_classes,
        "num_rows": problem.num_rows,
        "num_parameters": problem.num_parameters,
        "full_num_parameters": problem.function.full_parameter_count,
        "likelihood": problem.likelihood.name,
    }


@dataclass(frozen=True)
class Result:
    """IGS of a model on data (equation 6), with everything that came with it.

    value: IGS = (1/N) Σ g_i F⁺ g_iᵀ. lower ≤ value ≤ upper ≤ ceiling: where the exact IGS of the
        very floats lies; grade: "verified", proven, or "estimated", resting on an estimate of
        rounding. Only a rank that is known keeps upper below the ceiling.
    ceiling: Σ uᵀΛ⁺u, the value of a saturated network, which depends on the losses alone; N_F/N
        times that with a pool, each term over the number of times its input is there (the upper
        end of its own enclosure).
    saturated: the reduced factor has full row rank by a margin above the estimated rounding of
        the Jacobian; then the IGS is the ceiling, whatever the landscape.
    rank: of F, numerical. rank_lower ≤ exact rank ≤ rank_upper, of the same grade; rank_source:
        what the upper end comes from. clear_rank: whether a gap in the spectrum sets the
        numerical rank off from rounding.
    rounding_error: what rounding leaves of value open, absolute, if a clear rank is the rank. An
        estimate, not a bound; without a clear rank it reaches up to the ceiling.
    per_sample: g_i F⁺ g_iᵀ, float64 (N,), their mean is the value to rounding; of an iteration
        the lower end of each, their mean ``lower``.
    sample_ceiling: of each, (N,). loss: mean training loss, in nats.
    full_batch: G = ḡ F⁺ ḡᵀ, ḡ the full-batch gradient, as an enclosure.
    pool_size: N_F, the number of inputs that F is a mean over; N unless a pool was given.
    num_parameters: m of the chosen parameters; of full_num_parameters trainable ones.
    margin: σ_min over the error bound in the certificate of full rank. method: how it was computed.
    standard_error: of a value that rests on random signs, over these; 0 where none were drawn.
    estimated_gap: what an iteration that was stopped might still have added, an estimate. reason:
        why it ended, or why this method was chosen. preconditioner: of an iteration, and where it
        was cut. history: the steps of an iteration.
    """

    lower: float
    value: float
    upper: float
    grade: Grade
    ceiling: float
    saturated: bool
    rank: int
    rank_lower: int
    rank_upper: int
    rank_source: str
    clear_rank: bool
    rounding_error: float
    full_batch: Enclosure
    loss: float
    num_samples: int
    pool_size: int
    num_classes: int
    num_rows: int
    num_parameters: int
    full_num_parameters: int
    likelihood: str
    method: str
    margin: float
    per_sample: Float64[Tensor, " samples"]
    sample_ceiling: Float64[Tensor, " samples"]
    standard_error: float = 0.0
    estimated_gap: float = 0.0
    reason: str = ""
    preconditioner: str = ""
    history: tuple[Step, ...] = ()

    def __float__(self) -> float:
        return self.value

    @property
    def enclosure(self) -> Enclosure:
        """lower, value, upper and grade in one."""
        return Enclosure(self.lower, self.value, self.upper, self.grade)

    @property
    def saturation(self) -> float:
        """value/ceiling, at most 1; 1 where saturated and for a ceiling of 0."""
        if self.saturated or self.ceiling == 0:
            return 1.0
        return min(1.0, self.value / self.ceiling)

    @property
    def is_lower_bound(self) -> bool:
        """Whether parameters were left out whose columns may add to the IGS."""
        return self.num_parameters < self.full_num_parameters and not self.saturated

    def minibatch(self, batch_size: SupportsIndex, *, replacement: bool = False) -> Enclosure:
        """IGS_b (equation 7) for batches drawn uniformly, in closed form, with its enclosure.

        Raises ValueError for b < 1, or b > N without replacement; TypeError unless an integer.
        """
        return minibatch_igs(
            self.enclosure, self.full_batch, self.num_samples, batch_size, replacement=replacement
        )

    def dominant_sample(self) -> tuple[int, float, float] | None:
        """The sample with more than half of the ceiling, if there is one, its share, and the rest.

        The third number is the saturation with that sample's terms left out of both sums: one
        sample of a large loss can make the saturation of all the others look small.
        """
        total = float(self.sample_ceiling.sum())
        sample = int(self.sample_ceiling.argmax())
        held = float(self.sample_ceiling[sample])
        rest = float(self.per_sample.sum() - self.per_sample[sample])
        if self.saturated or self.history or not total > held > total / 2:
            return None
        return sample, held / total, min(1.0, rest / (total - held))

    def heaviest(self, count: SupportsIndex = _HEAVIEST) -> list[tuple[int, float]]:
        """(sample, share of the IGS) of the samples that carry most of it, heaviest first.

        After an iteration shares are of ``lower``: those with right-hand sides of their own lead.

        Samples are counted from 0 in the order in which the data came (a loader that shuffles
        gives another order each time).
        Raises ValueError for a negative count, TypeError unless an integer.
        """
        most = checked_integer("count", count, least=0)
        order = self.per_sample.argsort(descending=True, stable=True)[:most]
        total = float(self.per_sample.sum())
        shares = self.per_sample[order] / total if total > 0 else self.per_sample[order]
        return list(zip(order.tolist(), shares.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values: tensors as lists of floats, enclosures as mappings."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["full_batch"] = asdict(self.full_batch)
        values["history"] = [asdict(step) for step in self.history]
        return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in values.items()}

    def to_json(self) -> str:
        """JSON that :meth:`from_json` turns into an equal result, bit for bit."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The result that :meth:`to_json` wrote.

        Raises ValueError where the text is no JSON object with exactly a result's fields.
        """
        values = json.loads(text)
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            got = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"text must hold the fields {sorted(names)}; got {got}")
        for name in ("per_sample", "sample_ceiling"):
            values[name] = torch.tensor(values[name], dtype=torch.float64)
        values["full_batch"] = Enclosure(**values["full_batch"])
        values["history"] = tuple(Step(**step) for step in values["history"])
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __str__(self) -> str:
        return "\n".join(f"{name:<18} {text}" for name, text in self._rows())

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return html_table(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        """What a reader is shown: a name and what it is."""
        rows = [
            ("IGS", f"{self.value:.10g}  ({self._error_text()})"),
            ("bracket", f"[{self.lower:.10g}, {self.upper:.10g}], {self._grade_text()}"),
            ("upper end", self._advice()),
            ("IGS / N", self._mean_text()),
            ("ceiling", f"{self.ceiling:.10g}"),
            ("saturation", self._saturation_text()),
            ("rank of F", self._rank_text()),
            ("full batch G", f"{self.full_batch.value:.10g}"),
            ("training loss", f"{self.loss:.6g} nats"),
            ("samples, classes", f"{self._samples_text()}, {self.num_classes}"),
            ("likelihood, method", f"{self.likelihood}, {self._method_text()}"),
            ("heaviest samples", self._heaviest_text()),
            ("preconditioner", self.preconditioner),
            ("reason", self.reason),
        ]
        return [(name, text) for name, text in rows if text]

    def _saturation_text(self) -> str:
        if self.saturated:
            how = f"shown, {self.grade}" if self.rank_lower == self.num_rows else "computed"
            return (
                f"1, {how}: full row rank by {self.margin:.1g} × the estimated rounding. "
                "The IGS is a function of the losses alone"
            )
        shown = (
            "F lacks full row rank"
            if self.rank_upper < self.num_rows
            else "full row rank not shown"
        )
        text = f"{self.saturation:.10g} ({shown})"
        if (dominant := self.dominant_sample()) is None:
            return text
        sample, share, rest = dominant
        return (
            f"{text}; {rest:.4g} without #{sample}, which holds {100 * share:.3g}% of the ceiling"
        )

    def _mean_text(self) -> str:
        """What estimates the gap per sample; of gradients that F is a mean over, no pool."""
        pooled = self.pool_size != self.num_samples
        return "" if pooled else f"{self.value / self.num_samples:.6g}"

    def _advice(self) -> str:
        """What closes a bracket that is open because nothing says how large the rank may be."""
        closed = self.upper - self.lower <= _CLOSED * self.value
        if closed or self.history or self.rank >= self.rank_upper:
            return ""
        return (
            f"no proof that F has no direction beyond the {self.rank} seen: rank_bound={self.rank} "
            "takes it on your word, and igsref.certify may prove it of a sequence of layers"
        )

    def _error_text(self) -> str:
        """What is open of the value, beside what the bracket says."""
        if self.standard_error == 0:
            coming = f", {self.estimated_gap:.1g} still to come" if self.estimated_gap else ""
            return f"estimated rounding {self.rounding_error:.0e}{coming}"
        return (
            f"standard error {self.standard_error:.1g} over random signs, and "
            f"{self.estimated_gap:.1g} still to come, both estimated"
        )

    def _method_text(self) -> str:
        if not self.history:
            return self.method
        last = self.history[-1]
        return f"{self.method}: {last.number} steps, {last.products} products"

    def _grade_text(self) -> str:
        """The grade, and what it was given."""
        trusted = self.rank_source == "rank_bound"
        return f"{self.grade}, given rank_bound={self.rank_upper}" if trusted else self.grade

    def _rank_text(self) -> str:
        if self.history:
            return (
                f"at least {self.rank_lower}, which were looked for, at most {self.rank_upper}, by "
                f"{self.rank_source} ({self.num_rows} rows, {self._parameters_text()})"
            )
        unclear = "" if self.clear_rank else "; unclear: the spectrum runs into rounding"
        known = f"between {self.rank_lower} and {self.rank_upper}, the upper end by"
        if self.rank_lower == self.rank_upper:
            known = f"exactly {self.rank_lower} ({self.grade}), by"
        return (
            f"{self.rank}, {known} {self.rank_source} "
            f"({self.num_rows} rows, {self._parameters_text()}){unclear}"
        )

    def _samples_text(self) -> str:
        if self.pool_size == self.num_samples:
            return str(self.num_samples)
        return f"{self.num_samples} in a pool of {self.pool_size}"

    def _parameters_text(self) -> str:
        if self.num_parameters == self.full_num_parameters:
            return f"{self.num_parameters} parameters"
        bound = "a lower bound for" if self.is_lower_bound else "the same for"
        return (
            f"{self.num_parameters} of {self.full_num_parameters} parameters: "
            f"{bound} the whole network"
        )

    def _heaviest_text(self) -> str:
        parts = [f"#{sample} {100 * share:.3g}%" for sample, share in self.heaviest()]
        return ", ".join(parts) + (" of the lower end" if self.history else "")

"""The tables of pool_saturation.py, line by line: pools, networks, correlations over networks."""

from collections.abc import Callable, Iterator

from experiments.leverage import Row, correlation, matched
from experiments.pools import ENOUGH, Point, crossing

POOL_HEADER = (
    "pool         N_F  N_F(C−1)    /m    rank  rank ≤          IGS      ceiling  saturation"
    "    CPU s"
)
NETWORK_HEADER = (
    "network                 epochs  train   loss  ceil.    IGS   sat. 1−lev.  in band  tr Λ   gap"
    "     ρ"
)


def point_line(point: Point) -> str:
    """A pool, and its bracket on a line of its own where it has one."""
    line = (
        f"{point.kind:8} {point.pool_size:7} {point.rows:9} {point.ratio:5.2f} {point.rank:7} "
        f"{point.rank_bound:7} {point.value:12.6g} {point.ceiling:12.6g} {point.saturation:11.4f} "
        f"{point.seconds:8.0f}"
    )
    if point.bracket is None:
        return line
    lower, upper, grade = point.bracket
    most = upper / point.ceiling
    return f"{line}\n  {grade}: {lower:.12g} ≤ IGS ≤ {upper:.12g}, saturation ≤ {most:.6f}"


def crossing_line(points: list[Point]) -> str:
    """Where pools of one kind fall below ``ENOUGH``."""
    kind, between = points[0].kind, crossing(points)
    if between is None:
        return f"{kind}: not below {ENOUGH} at any of these sizes"
    low, high = between
    where = f"between {low:.2f} and {high:.2f}" if low else f"at {high:.2f}, the smallest"
    return f"{kind}: below {ENOUGH} {where}"


def network_line(row: Row) -> str:
    """train: the mean loss of all training images; loss, ceiling, IGS: of the labelled ones.

    Ceiling and IGS over N_F; ρ is Spearman's of leverage and loss, over the pool.
    """
    count = len(row.leverage)
    return (
        f"{row.name:23} {row.epochs:6} {row.training_loss:6.4f} {row.loss:6.4f} "
        f"{row.ceiling / count:6.3f} {row.value / count:6.3f} "
        f"{row.value / row.ceiling:6.4f} {row.missing:6.4f} {row.missing_in_band:8.5f} "
        f"{row.spread:5.3f} {row.gap:5.2f} {correlation(row.leverage, row.sample_loss):5.2f}"
    )


def matched_lines(rows: list[Row]) -> Iterator[str]:
    """What :func:`matched` says of the networks with mixed labels; nothing where there are none."""
    mixed = [row for row in rows if row.mixed]
    if mixed:
        yield "leverage of wrong labels minus that of the right one nearest in loss:"
    for row in mixed:
        mean, error = matched(row)
        yield f"  {row.name:23} {mean:+.4f} ± {error:.4f}"


def over_networks(rows: list[Row]) -> Iterator[str]:
    """Spearman's correlation of each number with the gap, the loss of the labelled, and tr Λ."""
    numbers: dict[str, Callable[[Row], float]] = {
        "loss": lambda row: row.loss,
        "ceiling": lambda row: row.ceiling,
        "pool IGS": lambda row: row.value,
        "saturation": lambda row: row.value / row.ceiling,
        "1 − leverage": lambda row: row.missing,
        "the same in band": lambda row: row.missing_in_band,
        "tr Λ": lambda row: row.spread,
    }
    yield f"Spearman over {len(rows)} networks   gap   loss   tr Λ"
    others = [[one(row) for row in rows] for one in (_gap, numbers["loss"], numbers["tr Λ"])]
    for name, number in numbers.items():
        values = [number(row) for row in rows]
        shown = " ".join(f"{correlation(values, other):+6.2f}" for other in others)
        yield f"{name:24} {shown}"


def _gap(row: Row) -> float:
    return row.gap

"""A and Aᵀ over several processes: each has some of the samples, all have all vectors.

What every process sees is what one alone would have, up to the order of sums: A X has the rows of
all samples, Aᵀ U the sum over them, by one all-reduce. So whatever is decided from them is decided
alike everywhere. A process that dies ends the others' next all-reduce with an error, at the latest
after the timeout that ``torch.distributed.init_process_group`` was given.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float64
from torch import Tensor

from igsref.curvature.operators import FactorOperator, factor_operator
from igsref.problem import Problem


@dataclass(frozen=True, eq=False)
class ShardedOperator:
    """The reduced factor of the whole pool, (n, m), each process with some samples' rows.

    local: the operator of this process's samples, consecutive in the pool.
    """

    problem: Problem
    local: FactorOperator
    group: dist.ProcessGroup | None

    @property
    def num_rows(self) -> int:
        """n, rows of all samples."""
        return self.problem.num_rows

    @property
    def num_parameters(self) -> int:
        """m."""
        return self.local.num_parameters

    @property
    def dtype(self) -> torch.dtype:
        """What derivatives are taken in."""
        return self.local.dtype

    @property
    def samples(self) -> Tensor:
        """Those of this process."""
        return self.local.samples

    def forward(self, vectors: Float64[Tensor, "params k"]) -> Float64[Tensor, "rows k"]:
        """A X."""
        return self._summed(self._placed(self.local.forward(vectors)))

    def adjoint(
        self,
        vectors: Float64[Tensor, "rows k"],
        weights: Float64[Tensor, "samples height height"] | None = None,
    ) -> Float64[Tensor, "params k"]:
        """Aᵀ W U, ``weights`` those of this process's samples."""
        return self._summed(self.local.adjoint(vectors[self._rows], weights))

    def normal(
        self,
        vectors: Float64[Tensor, "params k"],
        weights: Float64[Tensor, "samples height height"] | None = None,
    ) -> tuple[Float64[Tensor, "rows k"], Float64[Tensor, "params k"]]:
        """(A X, Aᵀ W A X), by one all-reduce; ``weights`` those of this process's samples."""
        images, back = self.local.normal(vectors, weights)
        both = self._summed(torch.cat([self._placed(images), back]))
        return both[: self.num_rows], both[self.num_rows :]

    def perturbed(self, problem: Problem, relative: float) -> "ShardedOperator":
        """As :meth:`FactorOperator.perturbed`."""
        return replace(self, problem=problem, local=self.local.perturbed(problem, relative))

    def seconds_of_forward(self, columns: int) -> float:
        """As :meth:`FactorOperator.seconds_of_forward`, of the slowest process."""
        return self.agreed(self.local.seconds_of_forward(columns))

    def agreed(self, value: float) -> float:
        """The largest that any process has."""
        out = torch.tensor([value], dtype=torch.float64, device=self.local.roots.device)
        dist.all_reduce(out, dist.ReduceOp.MAX, group=self.group)
        return float(out)

    @property
    def _rows(self) -> slice:
        height = self.local.roots.shape[1]
        first = int(self.local.samples[0])
        return slice(first * height, (first + len(self.local.samples)) * height)

    def _placed(self, rows: Tensor) -> Tensor:
        """This process's rows among 0 for all others."""
        out = rows.new_zeros(self.num_rows, rows.shape[1])
        out[self._rows] = rows
        return out

    def _summed(self, own: Tensor) -> Tensor:
        out = own.contiguous()
        dist.all_reduce(out, group=self.group)
        return out


def agreed_by_all(flag: bool, group: dist.ProcessGroup | None) -> bool:
    """Whether the flag holds in every process of a group, None being this process alone."""
    if group is None:
        return flag
    flags: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(flags, flag, group=group)
    return all(flags)


def sharded_operator(
    problem: Problem,
    group: dist.ProcessGroup | None,
    *,
    dtype: torch.dtype = torch.float64,
    width: int = 1,
) -> ShardedOperator:
    """The reduced factor of a problem's pool over the processes of a group.

    All processes make it at the same time, of the same problem; shards differ by a sample at most.
    dtype, width: as for :func:`factor_operator`.

    Raises ValueError where there are more processes than inputs.
    """
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    if size > problem.pool_size:
        raise ValueError(
            f"the group must have no more processes than the pool has inputs, "
            f"{problem.pool_size}; got {size}"
        )
    samples = torch.arange(problem.pool_size).tensor_split(size)[rank]
    local = factor_operator(problem, samples=samples, dtype=dtype, width=width)
    return ShardedOperator(problem, local, group)

"""nngeometry: F as PMatLowRank, one SVD of the NC × m factor, and the pseudo-inverse from it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from nngeometry import Jacobian
from nngeometry.metrics import FIM
from nngeometry.object import PMatLowRank
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from verification.peers.pseudo_inverse import pseudo_inverse_form


def nngeometry_low_rank(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """The eigendecomposition of PMatLowRank, cut where torch.linalg.pinv cuts: m·ε·λ_max."""

    def losses(inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(model(inputs), labels, reduction="none")[:, None]

    with _float64_by_default():
        loader = DataLoader(TensorDataset(*data), batch_size=len(data[1]))
        metric = FIM(model, loader, PMatLowRank, variant="classif_logits")
        metric.compute_eigendecomposition()
        gradients = Jacobian(model, loader, function=losses).to_torch()[0]
        return pseudo_inverse_form(gradients, *metric.get_eigendecomposition())


@contextmanager
def _float64_by_default() -> Iterator[None]:
    """nngeometry allocates in the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

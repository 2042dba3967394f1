"""The layers that EKFAC has a rule for in training: those of kfac, normalisations and tables.

Linear and convolutional layers are those of :mod:`igsref.curvature.kfac.layers`. Two kinds more
have gradients of such outer products δ aᵀ:

Normalisation   each channel's γ and β are a group of their own, which reads a = (x̂, 1), x̂ the
                normalised input, and has one output.
Embedding       a is the one-hot row of a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from igsref.curvature.kfac.capture import Capture
from igsref.curvature.kfac.layers import NORMALISATIONS, KroneckerLayer, kronecker_layers, owned
from igsref.model import LogitFunction

KNOWN = "Linear, Conv1d, Conv2d, Embedding, BatchNorm, InstanceNorm, GroupNorm, LayerNorm, RMSNorm"
"""What has a rule, in words."""

_TRAILING = (nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True, eq=False)
class Normalisation(KroneckerLayer):
    """γ and β of a normalisation, weight and bias: one group, with one output, for each entry."""

    @property
    def groups(self) -> int:
        """The number of channels, or entries, that have a γ or β each."""
        return self._own.numel()

    @property
    def outputs(self) -> int:
        """Of a channel: one."""
        return 1

    @property
    def inputs(self) -> int:
        """x̂ and 1, as far as γ and β are in θ."""
        return len(self.names)

    @property
    def _own(self) -> Tensor:
        return self.module.bias if self.weight is None else self.module.weight

    def readable(self, x: Any, y: Any, samples: int) -> bool:
        """Whether samples are in front, and channels where this normalisation has them."""
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not y.requires_grad:
            return False
        shape = tuple(self._own.shape)
        if isinstance(self.module, _TRAILING):
            fits = x.ndim > len(shape) and x.shape[-len(shape) :] == shape
        else:
            fits = x.ndim >= 2 and x.shape[1] == shape[0]
        return fits and x.shape[0] % samples == 0 and y.shape == x.shape

    def read(self, x: Tensor, samples: int) -> Float[Tensor, "samples groups inputs positions"]:
        """(x̂, 1) of every position."""
        state = {name: value.clone() for name, value in self.module.named_buffers()}
        for name, value in self.module.named_parameters():
            state[name] = torch.ones_like(value) if name == "weight" else torch.zeros_like(value)
        with torch.no_grad():
            normalised = self._by_channel(torch.func.functional_call(self.module, state, x))
        parts = [] if self.weight is None else [normalised]
        if self.bias is not None:
            parts.append(torch.ones_like(normalised))
        return _by_sample(torch.stack(parts, dim=2), samples)

    def written(self, y: Tensor, samples: int) -> Float[Tensor, "samples groups outputs positions"]:
        """The output, or the derivative there, in the order in which ``read`` has its positions."""
        return _by_sample(self._by_channel(y)[:, :, None], samples)

    def _by_channel(self, values: Tensor) -> Float[Tensor, "batch channels positions"]:
        if isinstance(self.module, _TRAILING):
            return values.reshape(len(values), -1, self.groups).mT
        return values.reshape(len(values), self.groups, -1)


@dataclass(frozen=True, eq=False)
class Embedding(KroneckerLayer):
    """A table of vectors, its weight; what it read is to be had as :meth:`tokens`."""

    def matrices(self, named: Mapping[str, Tensor]) -> Shaped[Tensor, "groups outputs inputs"]:
        """The table as a matrix (entries of a vector, tokens)."""
        return named[self.names[0]].reshape(self.inputs, self.outputs).mT[None]

    @property
    def outputs(self) -> int:
        """Entries of a vector."""
        return self.module.embedding_dim

    @property
    def inputs(self) -> int:
        """Vectors in the table."""
        return self.module.num_embeddings

    def readable(self, x: Any, y: Any, samples: int) -> bool:
        """Whether input and output are such as a table has, so many samples in front."""
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not y.requires_grad:
            return False
        return x.ndim >= 1 and x.shape[0] % samples == 0 and y.shape == (*x.shape, self.outputs)

    def written(self, y: Tensor, samples: int) -> Float[Tensor, "samples groups outputs positions"]:
        """The output, or the derivative there, in the order of ``tokens``."""
        return y.reshape(samples, 1, -1, self.outputs).mT

    def tokens(self, found: Capture) -> Int64[Tensor, "samples positions"]:
        """The rows of the table that each sample read, in all calls."""
        samples = len(found.logits)
        parts = [use.x.reshape(samples, -1) for use in found.uses[self]]
        return torch.cat(parts, dim=1).long()


def known_layers(function: LogitFunction) -> list[KroneckerLayer]:
    """Every layer with a rule that has tensors of its own in θ."""
    norms = [
        Normalisation(module, own.get("weight"), own.get("bias"))
        for module, own in owned(function, NORMALISATIONS)
    ]
    tables = [
        Embedding(module, own["weight"], None)
        for module, own in owned(function, (nn.Embedding,))
        if module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
    ]
    return [*kronecker_layers(function), *norms, *tables]


def _by_sample(
    values: Float[Tensor, "batch channels entries positions"], samples: int
) -> Float[Tensor, "samples channels entries more_positions"]:
    """What a sample has of entries in front are positions too."""
    _, channels, entries, positions = values.shape
    split = values.reshape(samples, -1, channels, entries, positions)
    return split.movedim(1, 3).reshape(samples, channels, entries, -1)

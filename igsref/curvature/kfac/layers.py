"""Layers whose gradient is a sum of outer products δ aᵀ, and normalisations.

Of a linear layer a is its input and δ the derivative at its output. A convolution has such a pair
at every position, a the patch that it reads there; each group of a grouped one is a layer of its
own. A bias makes a 1 the last entry of a.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from igsref.flat import ranges
from igsref.model import LogitFunction

NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True, eq=False)
class KroneckerLayer:
    """A linear or convolutional layer; weight and bias: their names in θ, None what is not in it.

    Matrices (outputs, inputs) are those of its gradient, one for each group; with a bias alone,
    there is one input, the 1.
    """

    module: Any
    weight: str | None
    bias: str | None

    @property
    def names(self) -> list[str]:
        """What of it is in θ."""
        return [name for name in (self.weight, self.bias) if name is not None]

    @property
    def groups(self) -> int:
        """1 unless it is a grouped convolution."""
        return getattr(self.module, "groups", 1)

    @property
    def outputs(self) -> int:
        """Outputs of a group."""
        return len(self.module.weight) // self.groups

    @property
    def inputs(self) -> int:
        """Inputs of a group, the 1 of a bias counted."""
        read = 0 if self.weight is None else self.module.weight[0].numel()
        return read + (self.bias is not None)

    @property
    def entry_count(self) -> int:
        """Of its matrices, all groups together."""
        return self.groups * self.outputs * self.inputs

    def matrices(self, named: Mapping[str, Tensor]) -> Shaped[Tensor, "groups outputs inputs"]:
        """What belongs to the weight and the bias, side by side as in the gradient."""
        parts = [named[name].reshape(self.groups, self.outputs, -1) for name in self.names]
        return torch.cat(parts, dim=2)

    def entries(self, theta: Mapping[str, Tensor]) -> Shaped[Tensor, "groups outputs inputs"]:
        """The places in θ of all that it has there."""
        places = ranges(theta)
        device = theta[self.names[0]].device
        return self.matrices(
            {
                name: torch.arange(places[name].start, places[name].stop, device=device)
                for name in self.names
            }
        )

    def readable(self, x: Any, y: Any, samples: int) -> bool:
        """Whether input and output are such as this kind of layer has, so many samples in front."""
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not y.requires_grad:
            return False
        axes = x.ndim >= 2 if isinstance(self.module, nn.Linear) else x.ndim == self._axes
        return axes and x.shape[0] % samples == 0 and y.shape[0] == x.shape[0]

    def read(self, x: Tensor, samples: int) -> Float[Tensor, "samples groups inputs positions"]:
        """a of every position; what a sample has of entries in front are positions too."""
        patches = _by_sample(self._patches(x), samples, self.groups)
        parts = [] if self.weight is None else [patches]
        if self.bias is not None:
            parts.append(torch.ones_like(patches[:, :, :1]))
        return torch.cat(parts, dim=2)

    def written(self, y: Tensor, samples: int) -> Float[Tensor, "samples groups outputs positions"]:
        """The output, or the derivative there, in the order in which ``read`` has its positions."""
        linear = isinstance(self.module, nn.Linear)
        by_channel = _positions_last(y) if linear else y.flatten(2)
        return _by_sample(by_channel, samples, self.groups)

    @property
    def _axes(self) -> int:
        return self.module.weight.ndim

    def _patches(self, x: Tensor) -> Float[Tensor, "batch entries positions"]:
        if isinstance(self.module, nn.Linear):
            return _positions_last(x)
        module = self.module
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = nn.functional.pad(x, _margins(module), mode=mode)
        kernel, dilation, stride = module.kernel_size, module.dilation, module.stride
        if x.ndim == 3:  # an image of height 1
            x, kernel, dilation, stride = x[:, :, None], (1, *kernel), (1, *dilation), (1, *stride)
        return nn.functional.unfold(x, kernel, dilation=dilation, stride=stride)


def kronecker_layers(function: LogitFunction) -> list[KroneckerLayer]:
    """Every Linear, Conv1d and Conv2d that has tensors of its own in θ."""
    return [
        KroneckerLayer(module, own.get("weight"), own.get("bias"))
        for module, own in owned(function, (nn.Linear, nn.Conv1d, nn.Conv2d))
    ]


def normalisations(function: LogitFunction) -> list[tuple[str, ...]]:
    """The names in θ of γ and β, for every normalisation that has tensors of its own there."""
    return [tuple(own.values()) for _, own in owned(function, NORMALISATIONS)]


def owned(
    function: LogitFunction, kinds: tuple[type[nn.Module], ...]
) -> list[tuple[Any, dict[str, str]]]:
    """Modules of some kinds with weight and bias that are in θ and that no other module has."""
    if function.module is None:
        return []
    first = {id(value): name for name, value in function.module.named_parameters()}
    modules = list(function.module.modules())
    owners = Counter(id(value) for module in modules for value in module._parameters.values())
    out = []
    for module in modules:
        own = {
            key: first[id(value)]
            for key, value in module._parameters.items()
            if key in ("weight", "bias") and value is not None and owners[id(value)] == 1
        }
        own = {key: name for key, name in own.items() if name in function.parameters}
        if own and isinstance(module, kinds):
            out.append((module, own))
    return out


def _positions_last(x: Tensor) -> Float[Tensor, "batch entries positions"]:
    return x.reshape(len(x), -1, x.shape[-1]).mT


def _by_sample(
    values: Float[Tensor, "batch entries positions"], samples: int, groups: int
) -> Float[Tensor, "samples groups entries_of_group more_positions"]:
    batch, entries, positions = values.shape
    per_sample = values.view(samples, batch // samples, entries, positions).transpose(1, 2)
    return per_sample.reshape(samples, groups, entries // groups, -1)


def _margins(module: Any) -> list[int]:
    """The padding of a convolution, as ``torch.nn.functional.pad`` takes it: last axis first."""
    if module.padding == "valid":
        return [0] * (2 * len(module.kernel_size))
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    return [width for width in reversed(module.padding) for _ in range(2)]

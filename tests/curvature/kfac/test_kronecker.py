"""The eigenbases of A and B, and scalings that are the diagonal of F in them."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.kfac import chunks
from igsref.curvature.kfac.chunks import source
from igsref.curvature.kfac.kronecker import kronecker_blocks
from igsref.curvature.kfac.layers import kronecker_layers
from tests.curvature.kfac.cases import (
    AGREEMENT,
    KRONECKER,
    assert_scalings_are_fishers,
    fisher_block,
    network,
    problem_of,
)
from tests.strategies import classes, fill_, gaussian, mlp

BUDGET = 2**30


def blocks_of(problem):
    """Layer → block, all samples."""
    layers = kronecker_layers(problem.function)
    samples = torch.arange(problem.pool_size)
    return kronecker_blocks(source(problem, samples, layers, problem.function, BUDGET), layers)


def naive_patches(layer, x):
    """a of one sample at every position, (positions, groups, inputs), by loops."""
    if isinstance(layer, nn.Linear):
        return torch.cat([x, torch.ones(1).double()])[None, None]
    (top, left), channels = layer.padding, len(x) // layer.groups
    padded = nn.functional.pad(x, (left, left, top, top))
    steps, (height, width) = layer.stride, layer.kernel_size
    rows, columns = layer(x[None]).shape[2:]
    out = []
    for i in range(rows):
        for j in range(columns):
            patch = [
                padded[
                    c, i * steps[0] + k * layer.dilation[0], j * steps[1] + n * layer.dilation[1]
                ]
                for c in range(len(x))
                for k in range(height)
                for n in range(width)
            ]
            by_group = torch.stack(patch).view(layer.groups, channels * height * width)
            out.append(torch.cat([by_group, torch.ones(layer.groups, 1).double()], dim=1))
    return torch.stack(out)


def naive_factors(model, x):
    """A and B of a sequential network's first layer, which has a bias, for each of its groups."""
    first, rest, groups = model[0], model[1:], getattr(model[0], "groups", 1)
    a_factor, b_factor = 0.0, 0.0
    for sample in x:
        patches = naive_patches(first, sample)
        a_factor = a_factor + torch.einsum("tgi,tgj->gij", patches, patches)
        y = first(sample[None]).detach()
        jacobian = torch.func.jacrev(lambda y: rest(y)[0])(y)
        p = rest(y)[0].softmax(dim=0)
        metric = torch.diag(p) - torch.outer(p, p)
        delta = jacobian.reshape(len(p), groups, y.shape[1] // groups, -1)
        b_factor = b_factor + torch.einsum("cgot,cd,dgpt->gop", delta, metric, delta)
    return a_factor, b_factor


@pytest.mark.parametrize("name", ["MLP", "stride, padding, dilation", "groups"])
def test_bases_are_eigenvectors_of_the_kronecker_factors(name):
    model, x, y = network(name, 6)
    model.requires_grad_(False)
    factors = naive_factors(model, x)
    model.requires_grad_(True)
    first = next(iter(blocks_of(igsref.as_problem(model, (x, y))).values()))
    for basis, factor in zip((first.input_basis, first.output_basis), factors, strict=True):
        inside = basis.mT @ factor @ basis
        diagonal = inside.diagonal(dim1=1, dim2=2)
        off = inside - torch.diag_embed(diagonal)
        assert float(off.abs().max()) <= AGREEMENT * float(diagonal.max())
        # Another basis would not do: the eigenvalues are apart.
        assert float(diagonal.diff(dim=1).abs().amin()) > 1e3 * AGREEMENT * float(diagonal.max())


@pytest.mark.parametrize("name", KRONECKER)
def test_scalings_are_the_diagonal_of_f_in_the_basis(name):
    problem = problem_of(name)
    fisher = igsref.fisher(problem)
    blocks = blocks_of(problem)
    assert list(blocks) and len(blocks) == len(kronecker_layers(problem.function))
    for block in blocks.values():
        assert_scalings_are_fishers(block, fisher)


@pytest.mark.parametrize("name", ["tokens, in place", "convolution called twice", "groups"])
@pytest.mark.parametrize("limits", [{"_CHUNK_BYTES": 1}, {"_LARGEST_CHUNK": 2}])
def test_chunks_change_nothing(name, limits, monkeypatch):
    problem = problem_of(name)
    for limit, value in {"_LARGEST_GROUP": 1, **limits}.items():
        monkeypatch.setattr(chunks, limit, value)
    fisher = igsref.fisher(problem)
    for block in blocks_of(problem).values():
        assert_scalings_are_fishers(block, fisher)


@pytest.mark.parametrize("samples", [1, 7])
def test_one_input_of_a_layer_makes_its_block_exact(samples):
    """F of the layer is then a aᵀ ⊗ E[δδᵀ], which its eigenbasis diagonalises."""
    model = mlp(1, [3, 4], nn.Tanh)
    x = gaussian(2, 1, 3).expand(samples, 3)
    problem = igsref.as_problem(model, (x, classes(3, samples, 4)))
    ((_, block),) = blocks_of(problem).items()
    eye = torch.eye(16, dtype=torch.float64)
    inside = block.power(eye[block.entries], 1.0, 0.0, 0.0)
    expected = igsref.fisher(problem)
    atol = AGREEMENT * float(expected.max())
    actual = inside.reshape(16, 16)
    places = block.entries.flatten()
    torch.testing.assert_close(actual[:, places], fisher_block(expected, block), rtol=0, atol=atol)


class Sometimes(nn.Module):
    """Reads a layer's weight on its own, for some inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        beyond = (x[:, :1] > 10).to(x)
        return self.head(self.first(x)) * (1 + beyond * self.first.weight.norm())


def test_a_layer_drops_out_wherever_its_calls_do_not_tell_its_gradient(monkeypatch):
    monkeypatch.setattr(chunks, "_LARGEST_CHUNK", 2)
    x = gaussian(2, 6, 3)
    model, y = fill_(Sometimes().double(), 1), classes(3, 6, 3)
    assert len(blocks_of(igsref.as_problem(model, (x, y)))) == 2
    x[5, 0] = 11.0
    (left,) = blocks_of(igsref.as_problem(model, (x, y)))
    assert left.weight == "head.weight"

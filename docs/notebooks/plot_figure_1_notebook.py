"""
Figure 1 by hand
================

The largest eigenvalues of F, and what a step along an eigenvector does to the decisions.
"""

# %%
# Three Gaussians in the plane, and a ReLU network that tells them apart.

import matplotlib.pyplot as plt
import torch
from torch import nn

import igsref

torch.manual_seed(0)
centres = torch.tensor([[0.0, 2.0], [-1.7, -1.0], [1.7, -1.0]], dtype=torch.float64)
y = torch.arange(150) % 3
x = centres[y] + 0.6 * torch.randn(150, 2, dtype=torch.float64)

model = nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3))
model = model.double()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(150):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()

# %%
# Eigenpairs of F without forming it. The first are those that move the outputs most.

found = igsref.spectrum(model, (x, y), k=10)
print(found.eigenvalues)

# %%
# Equation (3): the divergence of a small step δ is ½ δᵀFδ to second order, here s²λ/2 for a step of
# length s along an eigenvector. For half of one it is far from small.

problem = igsref.as_problem(model, (x, y))
for k, size in ((0, 0.01), (0, 0.5), (1, 0.01), (1, 0.5)):
    divergence = float(igsref.kl_divergence(problem, step=size * found.eigenvectors[:, k]))
    predicted = size**2 * float(found.eigenvalues[k]) / 2
    print(f"k = {k + 1}, s = {size}: KL {divergence:.4g}, s²λ/2 = {predicted:.4g}")

# %%
# Where the network decides between its classes, as trained and after a step along the first and
# the tenth eigenvector.


def decisions(direction, size):
    """The class at every point of a grid, with θ moved."""
    moved, start = {}, 0
    for name, value in problem.function.parameters.items():
        part = direction[start : start + value.numel()].view_as(value)
        moved[name], start = value + size * part, start + value.numel()
    side = torch.linspace(-4, 4, 120, dtype=torch.float64)
    points = torch.cartesian_prod(side, side)
    return side, problem.function.call(moved, (points,), {}).argmax(dim=1).view(120, 120).mT


moves = [(0, 0.0), (0, 0.5), (9, 0.5)]
_, every = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
for axes, (k, size) in zip(every, moves, strict=True):
    side, classes = decisions(found.eigenvectors[:, k], size)
    axes.contourf(side, side, classes, levels=[-0.5, 0.5, 1.5, 2.5], cmap="viridis", alpha=0.3)
    axes.scatter(x[:, 0], x[:, 1], c=y, s=8, cmap="viridis")
    axes.set(title="as trained" if size == 0 else f"half of eigenvector {k + 1} further")
plt.show()

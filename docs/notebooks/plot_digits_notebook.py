"""
How sharp is a classifier of digits?
====================================

From data to a number with a bracket, and to what it means.
"""

# %%
# A small network learns 200 of scikit-learn's digits, 8 × 8 pixels each.

import torch
from sklearn.datasets import load_digits
from torch import nn

import igsref

digits = load_digits()
x = torch.tensor(digits.images / 16.0).flatten(1)[:200]
y = torch.tensor(digits.target)[:200]

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)).double()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(200):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()

# %%
# What would the exact measurement take? Only logits are evaluated for this.

print(igsref.plan(model, (x, y)))

# %%
# The measurement. The exact number lies in the bracket: for such a network that is proven.

result = igsref.exact_igs(model, (x, y))
result

# %%
# **Saturation first.** The losses alone allow an IGS up to the ceiling. Here 1,800 rows meet 610
# parameters, so that F cannot have full rank, and what is missing to the ceiling is geometry.

print(f"{result.saturation:.4f} of the ceiling, rank {result.rank} of {result.num_rows}")

# %%
# On the first 8 digits alone the same network is saturated: its IGS is a function of its losses,
# Σ expm1(loss), and says nothing about the landscape.

few = igsref.exact_igs(model, (x[:8], y[:8]))
losses = nn.functional.cross_entropy(model(x[:8]).detach(), y[:8], reduction="none")
print(few.saturated, few.value, float(losses.expm1().sum()))

# %%
# A pool of further inputs for F, which takes no labels, brings the landscape back.

pooled = igsref.exact_igs(model, (x[:8], y[:8]), fisher_data=x, members=torch.arange(8))
print(f"{pooled.saturation:.4f} of the ceiling {pooled.ceiling:.6g}")

# %%
# Other measures of the same network, beside it.

igsref.compare(model, (x, y), measures=["IGS", "IGS/N", "AIC", "Frobenius norm", "Tr(H)"])

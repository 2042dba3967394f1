"""
Is my measure invariant?
========================

Hold a measure of your own against networks that compute the same function in other parameters.
"""

# %%
# A measure is a function of a model and data. This one is the norm of the mean gradient.

import torch
from torch import nn

import igsref
import igsref.testing


def gradient_norm(model, data):
    """‖∂L/∂θ‖ of the training loss."""
    x, y = data
    loss = nn.functional.cross_entropy(model(x), y)
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return float(sum(part.square().sum() for part in parts).sqrt())


# %%
# Two layers of a ReLU network are scaled against each other: the function stays as it was.

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
data = torch.randn(20, 4, dtype=torch.float64), torch.randint(3, (20,))
scaled = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
scaled.load_state_dict(model.state_dict())
with torch.no_grad():
    scaled[0].weight *= 10
    scaled[0].bias *= 10
    scaled[2].weight /= 10

print("gradient norm", gradient_norm(model, data), gradient_norm(scaled, data))
print("IGS          ", igsref.exact_igs(model, data).value, igsref.exact_igs(scaled, data).value)

# %%
# The same as a law, on networks that are drawn for it. It fails for the norm, with an example.

try:
    igsref.testing.assert_invariant(gradient_norm, transformation="layer scaling")
except AssertionError as error:
    print(str(error).splitlines()[0])

# %%
# And it holds for the IGS.

igsref.testing.assert_invariant(igsref.exact_igs, transformation="layer scaling")

"""One small vector and its files, to be taken apart."""

import json

import torch
from torch import nn

from igsref.vectors.expected import expected_values
from igsref.vectors.files import save
from igsref.vectors.vector import Vector
from tests.strategies import gaussian

NAME = "small"


def small_vector() -> Vector:
    """Softmax regression on four samples of two features: 8 rows, 9 parameters, rank 6."""
    model = nn.Sequential(nn.Linear(2, 3)).double().eval()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data.copy_(gaussian(seed, *parameter.shape))
    x, y = gaussian(7, 4, 2), torch.tensor([0, 2, 1, 1])
    values = expected_values(model, x, y, "categorical")
    return Vector(NAME, ("small",), model, x, y, "categorical", values)


def stored(folder):
    """The vector's files in a folder, and the object in the JSON file."""
    save(folder, small_vector())
    return json.loads((folder / f"{NAME}.json").read_text())

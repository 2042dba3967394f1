"""A small network in training mode, its batches, and a naive gradient at any θ."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.strategies import classes, gaussian


def small(seed=0, norm=False):
    torch.manual_seed(seed)
    layers = [nn.Linear(3, 6), *([nn.BatchNorm1d(6)] if norm else []), nn.Tanh(), nn.Linear(6, 3)]
    return nn.Sequential(*layers).double()


def batch(seed=0, samples=12):
    return gaussian(seed, samples, 3), classes(seed + 1, samples, 3)


def closure_of(model, optimizer, data):
    x, y = data

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure


def gradient(model, data, change=None):
    """∇L(θ + change), by names, the model as it was."""
    theta = {n: p.detach().clone() for n, p in model.named_parameters()}
    if change is not None:
        theta = {n: value + change[n] for n, value in theta.items()}
    x, y = data

    def loss(values):
        return cross_entropy(torch.func.functional_call(model, values, (x,)), y)

    return torch.func.grad(loss)(theta)

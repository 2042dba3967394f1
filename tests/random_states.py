"""The global random states, to be compared and moved on."""

import random

import numpy as np
import torch


def draws():
    """One number of each of the three global generators."""
    return random.random(), float(np.random.random()), float(torch.rand(()))


def states():
    """The three global states, comparable."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    return (
        random.getstate(),
        (keys.tolist(), position, has_gauss, gauss),
        torch.get_rng_state().tolist(),
    )

"""The global random states, left as they were found."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Give Python's, NumPy's and torch's global random states back as they were."""
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)


def advance_random_state() -> None:
    """Move every global random state on, so that chance shows as a difference."""
    random.random()
    np.random.random()
    torch.rand(())

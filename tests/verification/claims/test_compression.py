"""The mini-batch measure at both of its ends."""

import random

from verification.claims.compression import full_batch, minibatch
from verification.claims.matrix_free import random_whitened


def test_batches_of_one_give_igs_and_the_whole_batch_gives_g() -> None:
    data = random_whitened(random.Random(8), samples=3)
    assert minibatch(data, 1, replacement=True) == data.igs
    assert minibatch(data, 1, replacement=False) == data.igs
    assert minibatch(data, 3, replacement=False) == full_batch(data)

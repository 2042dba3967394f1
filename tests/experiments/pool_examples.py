"""What the tests of pools share: a small network with wrong labels, and rows with given numbers."""

import dataclasses
from functools import cache

from experiments.data import random_images
from experiments.leverage import Row
from experiments.pool_saturation import QUICK
from experiments.recipes import Fitted, fitted

LABELLED = 20
PARAMETERS = 462
RECIPE = dataclasses.replace(QUICK.pools, wrong=0.5)


@cache
def half_wrong() -> Fitted:
    return fitted(RECIPE, random_images(0, RECIPE.images))


def row(leverage, loss, wrong, labelled=1, **others) -> Row:
    made = Row("a", 1, 0.1, 0.5, 0.5, labelled, True, 0.5, leverage, loss, wrong)
    return dataclasses.replace(made, **others)

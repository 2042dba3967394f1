"""Parts of a pool have the rows of the whole, and no labels."""

import torch

import igsref
from igsref.curvature.factor import reduced_factor
from igsref.geometry.part import unlabelled_part
from tests.measures.test_matrixfree import labelled, perceptron


def test_a_part_has_the_rows_of_its_inputs():
    model, data = perceptron(0, 3, 5, 3), labelled(0, 8, (3,), 3)
    problem = igsref.as_problem(model, data, fisher_data=labelled(1, 4, (3,), 3)[0])
    whole = reduced_factor(problem).view(12, 2, -1)
    for chosen in (slice(3, 6), torch.tensor([11, 0])):
        part = unlabelled_part(problem, chosen)
        assert part.pool_size == len(part.logits)
        assert len(part.targets) == 0
        # Samples in other company are summed in another order: within their last places.
        torch.testing.assert_close(reduced_factor(part).view(-1, 2, whole.shape[2]), whole[chosen])

"""Parts of a pool have the rows of the whole, in its order, and no labels."""

import torch

import igsref
from igsref.curvature.factor import differences, reduced_factor
from igsref.geometry.part import row_blocks, unlabelled_part
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


def test_blocks_are_all_rows_in_their_order():
    problem = igsref.as_problem(perceptron(0, 3, 5, 3), labelled(0, 8, (3,), 3))
    blocks = list(row_blocks(problem, 3))
    assert [block.part.pool_size for block in blocks] == [3, 3, 2]
    assert [len(block.contrast) for block in blocks] == [3, 3, 2]
    torch.testing.assert_close(torch.cat([block.rows for block in blocks]), differences(problem))

"""Three Gaussians, their perceptron and its picture: as said, and all of it from the generator."""

import math

import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import nn
from torch.nn.utils import parameters_to_vector

from toy.gaussian_classes import (
    CLASS_COLOURS,
    CLASSES,
    DECAY,
    DEVIATION,
    HALF_WIDTH,
    MARKERS,
    MOMENTUM,
    RADIUS,
    draw_boundary,
    draw_samples,
    grid,
    legend_handles,
    moved_logits,
    perceptron,
    three_gaussians,
    train,
)

WIDTHS = (2, 5, 4, CLASSES)
SIDE = 12


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    return perceptron(WIDTHS, nn.ReLU, seeded())


def logits_of(*levels):
    """Logits of class c on the grid, from functions of its points' two coordinates."""
    return torch.stack([level(*grid(SIDE)[1].T) for level in levels], dim=1)


def test_the_classes_come_in_turn_and_lie_around_their_means():
    samples = 3000
    x, y = three_gaussians(samples, seeded())
    assert torch.equal(y, torch.arange(samples) % CLASSES)
    height = RADIUS * math.sqrt(3) / 2
    corners = [(0, RADIUS), (-height, -RADIUS / 2), (height, -RADIUS / 2)]
    # Six standard errors of a mean of n, and of a standard deviation of n.
    n = samples // CLASSES
    for c, corner in enumerate(corners):
        mean, deviation = x[y == c].mean(dim=0), x[y == c].std(dim=0)
        expected = torch.tensor(corner, dtype=torch.float64)
        assert (mean - expected).abs().max() < 6 * DEVIATION / math.sqrt(n)
        assert (deviation / DEVIATION - 1).abs().max() < 6 / math.sqrt(2 * n)


def test_the_perceptron_has_the_widths_and_the_activation_asked_for():
    model = perceptron(WIDTHS, nn.Tanh, seeded())
    assert [type(layer) for layer in model] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    shapes = [tuple(layer.weight.shape) for layer in model[::2]]
    assert shapes == [(5, 2), (4, 5), (CLASSES, 4)]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_the_weights_fill_the_interval_of_torch_and_no_more():
    for layer in perceptron((50, 200, 200), nn.ReLU, seeded())[::2]:
        bound = layer.in_features**-0.5
        largest = float(layer.weight.detach().abs().max())
        # All of 10,000 uniform weights below 0.99 of the bound: a chance of 1e-43.
        assert 0.99 * bound < largest <= bound
        assert 0 < float(layer.bias.detach().abs().max()) <= bound


def test_data_and_weights_are_the_generators_alone():
    state = torch.random.get_rng_state()
    torch.manual_seed(1)
    draws = []
    for seed in (0, 0, 1):
        generator = seeded(seed)
        x = three_gaussians(9, generator)[0].flatten()
        weights = parameters_to_vector(perceptron(WIDTHS, nn.ReLU, generator).parameters())
        draws.append(torch.cat([x, weights.detach()]))
        torch.rand(())
    torch.random.set_rng_state(state)
    assert torch.equal(draws[0], draws[1])
    assert not (draws[0] == draws[2]).any()


def test_the_global_random_state_stays_where_it_was():
    state = torch.random.get_rng_state()
    generator = seeded()
    x, y = three_gaussians(9, generator)
    train(perceptron(WIDTHS, nn.ReLU, generator), x, y, steps=2, rate=0.1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_training_is_gradient_descent_with_momentum_and_weight_decay():
    generator = seeded()
    x, y = three_gaussians(9, generator)
    model = perceptron(WIDTHS, nn.Tanh, generator)
    steps, rate = 3, 0.1
    theta = parameters_to_vector(model.parameters()).detach()
    velocity = torch.zeros_like(theta)

    def loss(theta):
        shift = theta - parameters_to_vector(model.parameters()).detach()
        return differentiable_loss(model, shift, x, y)

    for _ in range(steps):
        slope = torch.func.grad(loss)(theta)
        velocity = MOMENTUM * velocity + slope + DECAY * theta
        theta = theta - rate * velocity
    train(model, x, y, steps=steps, rate=rate)
    trained = parameters_to_vector(model.parameters()).detach()
    # Numbers of size 1; a gradient is a sum of 9 samples' products along paths of three layers with
    # at most 5 terms each, some 100 roundings, and all that is done with it is 10 more a step.
    tolerance = steps * 110 * torch.finfo(torch.float64).eps
    torch.testing.assert_close(trained, theta, rtol=0, atol=tolerance)


def differentiable_loss(model, shift, x, y):
    parts = shift.split([parameter.numel() for parameter in model.parameters()])
    moved = {
        name: parameter.detach() + part.view_as(parameter)
        for (name, parameter), part in zip(model.named_parameters(), parts, strict=True)
    }
    return nn.functional.cross_entropy(torch.func.functional_call(model, moved, x), y)


def test_training_lowers_the_loss(model):
    x, y = torch.eye(3, 2, dtype=torch.float64), torch.arange(3)
    before = float(nn.functional.cross_entropy(model(x), y).detach())
    train(model, x, y, steps=300, rate=0.05)
    assert float(nn.functional.cross_entropy(model(x), y).detach()) < 0.1 * before


def test_a_step_moves_the_network_and_leaves_the_model_where_it_was(model):
    last_bias = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    last_bias[-3:] = torch.tensor([0.5, -1.0, 2.0])
    x = grid(3)[1]
    before = model(x).detach()
    after = moved_logits(model, last_bias, x)
    # Logits below 8: the sum with the bias and the difference round by 4 eps each at the most.
    torch.testing.assert_close(after - before, last_bias[-3:].expand_as(before), rtol=0, atol=1e-14)
    assert torch.equal(model(x), before)
    assert not after.requires_grad


def test_the_grid_runs_through_the_first_coordinate_fastest():
    axis, points = grid(SIDE)
    assert (float(axis[0]), float(axis[-1]), len(axis)) == (-HALF_WIDTH, HALF_WIDTH, SIDE)
    assert torch.equal(points[:SIDE, 0], axis)
    assert (points[:SIDE, 1] == -HALF_WIDTH).all()
    assert len(points) == SIDE**2


def test_the_samples_are_drawn_in_the_colour_of_their_class_on_the_ground_of_the_decisions():
    x, y = three_gaussians(8, seeded())
    panel = Figure().subplots()
    # Class 0 decides on the left, class 2 on the right.
    logits = logits_of(lambda a, b: -a, lambda a, b: 0 * a - 9, lambda a, b: a)
    draw_samples(panel, x, y, logits, size=9, alpha=0.5)
    ground, *classes = panel.collections
    for c, points in enumerate(classes):
        assert torch.equal(torch.tensor(points.get_offsets().data), x[y == c])
        assert tuple(points.get_facecolor()[0]) == to_rgba(CLASS_COLOURS[c], 0.5)
    extents = [path.get_extents() for path in ground.get_paths()]
    assert extents[0].x0 == -HALF_WIDTH and extents[0].x1 < 0.5
    assert extents[2].x1 == HALF_WIDTH and extents[2].x0 > -0.5
    assert panel.get_xlim() == panel.get_ylim() == (-HALF_WIDTH, HALF_WIDTH)


def test_a_boundary_is_where_the_two_largest_logits_are_equal():
    panel = Figure().subplots()
    # Class 0 has the upper half; below, classes 1 and 2 meet at a = 1. Above, they meet unseen.
    draw_boundary(
        panel, logits_of(lambda a, b: 50 * b, lambda a, b: 1 - a, lambda a, b: a - 1), "black", "-"
    )
    upper, lower = (contour.get_paths()[0].vertices for contour in panel.collections)
    # Interpolation is exact but for rounding: some eps of 250 / 50 above, and of 12 / 2 below.
    assert abs(upper[:, 1] - abs(upper[:, 0] - 1) / 50).max() < 1e-14
    assert abs(lower[:, 0] - 1).max() < 1e-14
    assert lower[:, 1].max() < 0


def test_a_network_that_decides_for_one_class_alone_has_no_boundary():
    panel = Figure().subplots()
    constant = logits_of(*(lambda a, b, c=c: 0 * a - c for c in range(CLASSES)))
    draw_boundary(panel, constant, "black", "-")
    assert len(panel.collections) == 0


def test_the_legend_has_a_class_and_a_boundary_in_turn():
    styles = {"at": ("black", "-"), "after": ("red", "--"), "before": ("blue", ":")}
    handles = legend_handles(styles)
    labels = [handle.get_label() for handle in handles]
    assert labels == ["class 1", "at", "class 2", "after", "class 3", "before"]
    assert [(h.get_color(), h.get_marker()) for h in handles[::2]] == list(
        zip(CLASS_COLOURS, MARKERS, strict=True)
    )
    assert [(h.get_color(), h.get_linestyle()) for h in handles[1::2]] == list(styles.values())

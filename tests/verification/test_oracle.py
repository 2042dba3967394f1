"""The oracle against hand calculation, a second way, automatic differentiation and the facts."""

import functools
import itertools
import math

import pytest
import torch
from flint import arb, ctx

from verification import oracle
from verification.networks import KINDS, as_lists, draw_network
from verification.oracle import OracleError, projected_truth, truth
from verification.perceptron import ACTIVATIONS

SMALL = [(kind, seed) for kind in KINDS for seed in (0, 1)]
XOR = ([[0.0, 1.0], [1.0, 0.5], [-1.0, 2.0], [0.5, -0.5]], [0, 1, 2, 1])


def perceptron(*widths, seed=0, bias=True):
    """Layers with parameters that are multiples of 1/64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        normal = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return ((64.0 * normal).round() / 64.0).tolist()

    return [
        (draw(after, before), draw(after) if bias else None)
        for before, after in itertools.pairwise(widths)
    ]


@functools.cache
def truth_of(kind, seed):
    return truth(*as_lists(draw_network(kind, seed)))


def agree(left, right, digits=50):
    """|left − right| ≤ 10^−digits |right|, proven by the balls."""
    with ctx.workprec(4000):
        return bool(abs(left - right) <= abs(right) / arb(10) ** digits)


def equal_logits(count, classes):
    """One linear layer with all parameters 0, on basis vectors: p = 1/C everywhere."""
    weight = [[0.0] * count for _ in range(classes)]
    inputs = [[float(i == j) for j in range(count)] for i in range(count)]
    return [(weight, None)], inputs


def test_one_linear_layer_with_one_input_has_rank_classes_minus_one_and_igs_of_its_odds():
    layers, inputs = equal_logits(count=1, classes=3)
    answer = truth(layers, "relu", inputs, [1])
    assert answer.rank == 2
    assert answer.value.contains(2)
    assert answer.ceiling.contains(2)
    assert answer.full_batch.contains(2)


def test_equal_inputs_with_all_labels_share_one_projector():
    # N copies of one input, one label each: F has rank C − 1 and g F⁺ gᵀ = (1 − p)/p = C − 1.
    # The gradients of the C labels sum to 0.
    layers, inputs = equal_logits(count=1, classes=4)
    answer = truth(layers, "relu", inputs * 4, [0, 1, 2, 3])
    assert answer.rank == 3
    assert answer.value.contains(3)
    assert answer.ceiling.contains(12)
    assert answer.full_batch.contains(0)
    assert float(answer.full_batch.abs_upper()) < 1e-300


def test_orthogonal_inputs_of_a_linear_layer_saturate():
    # g_i F⁺ g_iᵀ = N (1 − p)/p since the samples do not see each other.
    layers, inputs = equal_logits(count=5, classes=3)
    answer = truth(layers, "relu", inputs, [0, 1, 2, 0, 1])
    assert answer.rank == 10
    assert answer.value.contains(10)
    assert all(term.contains(10) for term in answer.per_sample)
    assert answer.full_batch.contains(2)


def test_two_unequal_probabilities_give_the_odds_of_the_label():
    # logits (log 3 in float64, 0): p = (3/4, 1/4) to rounding, IGS = p_0 / p_1 for label 1.
    layers = [([[0.0], [0.0]], [math.log(3.0), 0.0])]
    answer = truth(layers, "relu", [[1.0]], [1])
    assert answer.rank == 1
    assert oracle.to_float(answer.value) == pytest.approx(3.0, rel=1e-15)
    assert oracle.to_float(answer.min_label_probability) == pytest.approx(0.25, rel=1e-15)


def test_a_network_without_gradients_has_rank_zero_and_value_zero():
    answer = truth([([[0.5], [1.0]], None)], "relu", [[0.0], [0.0]], [0, 1])
    assert answer.rank == 0
    assert answer.value == 0
    assert answer.ceiling.contains(2)


@pytest.mark.parametrize(("kind", "seed"), SMALL)
def test_elimination_and_gram_schmidt_agree_to_fifty_digits(kind, seed):
    first = truth_of(kind, seed)
    second = projected_truth(*as_lists(draw_network(kind, seed)))
    assert first.rank == second.rank
    assert min(first.digits, second.digits) >= 50
    assert agree(first.value, second.value)
    assert agree(first.full_batch, second.full_batch)
    pairs = zip(first.per_sample, second.per_sample, strict=True)
    assert all(agree(left, right) for left, right in pairs)


@pytest.mark.parametrize(("kind", "seed"), SMALL)
def test_value_never_exceeds_the_ceiling(kind, seed):
    answer = truth_of(kind, seed)
    assert not answer.value > answer.ceiling
    assert answer.value > 0


@pytest.mark.parametrize(("kind", "seed"), SMALL)
def test_value_reaches_the_ceiling_under_full_row_rank(kind, seed):
    network = draw_network(kind, seed)
    answer = truth_of(kind, seed)
    rows = len(network.labels) * (network.model[-1].out_features - 1)
    if answer.rank == rows:
        assert agree(answer.value, answer.ceiling)
    else:
        assert answer.rank < rows
        assert answer.value < answer.ceiling


def test_the_small_networks_include_saturated_and_unsaturated_ones():
    answers = [truth_of(kind, seed) for kind, seed in SMALL]
    saturated = [agree(answer.value, answer.ceiling) for answer in answers]
    assert any(saturated)
    assert not all(saturated)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_expected_igs_under_labels_of_the_model_is_the_rank(activation):
    # Fact 4. A term depends on its own label only, so one run per class replaces C^N of them.
    layers, inputs = perceptron(2, 3, 3), XOR[0]
    probabilities = oracle.class_probabilities(layers, activation, inputs)
    answers = [truth(layers, activation, inputs, [c] * len(inputs)) for c in range(3)]
    with ctx.workprec(1200):
        expected = sum(
            p[c] * answers[c].per_sample[i] / len(inputs)
            for i, p in enumerate(probabilities)
            for c in range(3)
        )
    assert agree(expected, arb(answers[0].rank))


def test_duplicate_inputs_divide_their_odds_in_a_saturated_network():
    # Fact 2: Σ_i expm1(l_i)/n(x_i), n the multiplicity of the input.
    layers, inputs = equal_logits(count=3, classes=3)
    answer = truth(layers, "relu", [inputs[0], *inputs, inputs[0]], [0, 0, 1, 2, 1])
    assert answer.rank == 6
    assert answer.value.contains(3 * 2 // 3 + 2 + 2)
    assert answer.ceiling.contains(5 * 2)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batches_drawn_with_replacement_obey_the_closed_form(size):
    # Fact 5: IGS/b + (1 − 1/b) G.
    network, count = (perceptron(2, 3, 3), "tanh", *XOR), 4
    answer = truth(*network)
    batches = oracle.batches_with_replacement(count, size)
    brute_force = oracle.minibatch_brute_force(*network, batches)
    with ctx.workprec(1200):
        expected = answer.value / size + (1 - arb(1) / size) * answer.full_batch
    assert agree(brute_force, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_batches_drawn_without_replacement_obey_the_closed_form(size):
    # Fact 5: IGS (N − b)/(b (N − 1)) + G N (b − 1)/(b (N − 1)).
    network, count = (perceptron(2, 3, 3), "tanh", *XOR), 4
    answer = truth(*network)
    batches = oracle.batches_without_replacement(count, size)
    brute_force = oracle.minibatch_brute_force(*network, batches)
    with ctx.workprec(1200):
        weights = (count - size, count * (size - 1))
        total = answer.value * weights[0] + answer.full_batch * weights[1]
        expected = total / (size * (count - 1))
    assert agree(brute_force, expected)


def test_the_full_batch_value_is_that_of_the_one_batch_of_all_samples():
    network = (perceptron(2, 3, 3), "gelu", *XOR)
    brute_force = oracle.minibatch_brute_force(*network, [range(4)])
    assert agree(truth(*network).full_batch, brute_force)


def test_value_is_the_mean_of_the_terms_of_the_samples():
    answer = truth(perceptron(2, 3, 3), "relu", *XOR)
    with ctx.workprec(1200):
        mean = sum(answer.per_sample, arb(0)) / len(answer.per_sample)
    assert agree(answer.value, mean)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_logits_and_jacobian_are_those_of_automatic_differentiation(activation, bias):
    functions = {
        "relu": torch.relu,
        "leaky_relu": torch.nn.functional.leaky_relu,
        "tanh": torch.tanh,
        "gelu": torch.nn.functional.gelu,
    }
    layers, row = perceptron(3, 4, 2, 3, seed=3, bias=bias), [0.5, -1.0, 0.25]

    def logits_of(*parameters):
        values, step = torch.tensor(row, dtype=torch.float64), 2 if bias else 1
        for k in range(0, len(parameters), step):
            values = torch.nn.functional.linear(values, *parameters[k : k + step])
            last = k + step == len(parameters)
            values = values if last else functions[activation](values)
        return values

    flat = [part for layer in layers for part in layer if part is not None]
    parameters = tuple(torch.tensor(part, dtype=torch.float64) for part in flat)
    blocks = torch.autograd.functional.jacobian(logits_of, parameters)
    expected = torch.cat([block.reshape(3, -1) for block in blocks], dim=1)
    logits, jacobian = oracle.logits_and_jacobian(layers, activation, row)
    got = torch.tensor([[oracle.to_float(x) for x in row] for row in jacobian], dtype=torch.float64)
    assert [oracle.to_float(x) for x in logits] == pytest.approx(logits_of(*parameters).tolist())
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.01)])
def test_the_slope_at_the_kink_is_that_of_the_negative_side(activation, slope):
    layers = [([[1.0]], None), ([[1.0], [0.0]], None)]
    _, jacobian = oracle.logits_and_jacobian(layers, activation, [0.0])
    assert jacobian[0][0] == 0
    layers = [([[1.0, 1.0]], None), ([[1.0], [0.0]], None)]
    _, jacobian = oracle.logits_and_jacobian(layers, activation, [1.0, -1.0])
    assert jacobian[0][0] == arb(slope)


def test_a_float64_singular_value_decomposition_gives_the_value_of_a_tame_network():
    layers, activation, (inputs, labels) = perceptron(2, 3, 3), "tanh", XOR
    jacobians = [oracle.logits_and_jacobian(layers, activation, row)[1] for row in inputs]
    p = oracle.class_probabilities(layers, activation, inputs)
    p = torch.tensor([[oracle.to_float(x) for x in row] for row in p], dtype=torch.float64)
    jacobian = [[[oracle.to_float(x) for x in row] for row in rows] for rows in jacobians]
    jacobian = torch.tensor(jacobian, dtype=torch.float64)
    mean = torch.einsum("nc,ncm->nm", p, jacobian)
    factor = (p.sqrt()[:, :, None] * (jacobian - mean[:, None])).reshape(-1, jacobian.shape[-1])
    left, sigma, _ = torch.linalg.svd(factor, full_matrices=False)
    leverage = left[:, sigma > 1e-12 * sigma[0]].square().sum(dim=1).reshape(p.shape)
    index = torch.tensor(labels)[:, None]
    expected = float((leverage.gather(1, index) / p.gather(1, index)).sum())
    answer = truth(layers, activation, inputs, labels)
    assert oracle.to_float(answer.value) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("exponent", [-40, 40])
def test_a_node_scaling_by_a_power_of_two_changes_nothing(exponent):
    layers = perceptron(2, 3, 3)
    factor = 2.0**exponent
    (lower, bias), (upper, last) = layers
    scaled = [
        ([[w * factor for w in row] for row in lower], [b * factor for b in bias]),
        ([[w / factor for w in row] for row in upper], last),
    ]
    before, after = truth(layers, "relu", *XOR), truth(scaled, "relu", *XOR)
    assert before.rank == after.rank
    assert agree(before.value, after.value)
    assert before.smallest_accepted.overlaps(after.smallest_accepted)


def test_rounding_in_a_node_scaling_raises_the_rank_of_twin_units():
    # Fact 20: two exact twins stop being twins once one of them is multiplied by 3/10.
    twins = [
        ([[0.5, 0.75], [0.5, 0.75]], [0.25, 0.25]),
        ([[1.0, 1.0], [0.5, 0.5], [0.0, 0.0]], None),
    ]
    (lower, bias), (upper, _) = twins
    scaled = [
        ([lower[0], [0.3 * w for w in lower[1]]], [bias[0], 0.3 * bias[1]]),
        ([[row[0], row[1] / 0.3] for row in upper], None),
    ]
    inputs, labels = [[1.0, 2.0], [2.0, 0.5], [0.5, 1.0], [1.5, 1.0], [0.25, 3.0]], [0, 1, 2, 1, 0]
    before, after = truth(twins, "relu", inputs, labels), truth(scaled, "relu", inputs, labels)
    assert before.rank < after.rank
    assert after.smallest_accepted < arb(1e-20)


def test_logits_that_share_a_direction_add_no_rank():
    # F_jj = 0 without a zero column in J: the unit writes the same to each class. The equal
    # columns cancel in balls of radius > 0, and their noise must not be scaled up.
    layers = [
        ([[0.5, 1.0], [1.0, -0.25]], [0.5, 0.5]),
        ([[0.3, 0.1], [0.3, 0.7], [0.3, 0.2]], None),
    ]
    inputs, labels = [[1.0, 0.5], [0.5, 0.25], [2.0, 1.0]], [0, 1, 2]
    first, second = (
        truth(layers, "gelu", inputs, labels),
        projected_truth(layers, "gelu", inputs, labels),
    )
    assert first.rank == second.rank
    assert first.largest_rejected > 0
    assert agree(first.value, second.value)


def test_a_common_factor_of_1e170_between_probabilities_needs_and_gets_more_bits():
    layers = [([[1.0, 0.5], [0.25, 1.0], [0.0, 0.0]], [0.0, 0.0, -391.0])]
    inputs, labels = [[1.0, 2.0], [2.0, 0.5], [0.5, 1.0], [1.0, 1.0]], [0, 1, 2, 1]
    first = truth(layers, "relu", inputs, labels, bits=4000)
    second = projected_truth(layers, "relu", inputs, labels, bits=6000)
    assert first.min_label_probability < arb(10) ** -169
    assert first.rank == second.rank
    assert agree(first.value, second.value)


def test_fewer_than_fifty_proven_digits_are_refused():
    layers, inputs = equal_logits(count=3, classes=3)
    with pytest.raises(OracleError, match=r"4\d digits proven at 150 bits, 50 required"):
        truth(layers, "relu", inputs, [0, 1, 2], bits=150)


def test_a_pivot_between_the_two_thresholds_is_refused():
    arguments = (perceptron(2, 3, 3), "tanh", *XOR)
    pivot = oracle.to_float(truth(*arguments).smallest_accepted)
    with pytest.raises(OracleError, match="leaves the rank open"):
        truth(*arguments, bits=round(-2.4 * math.log2(pivot)))


def test_a_gradient_outside_the_range_is_refused():
    fisher = [[arb(1), arb(0)], [arb(0), arb(0)]]
    with pytest.raises(OracleError, match="leaves range F"):
        oracle.solve(fisher, [[arb(0), arb(1)]], bits=1200)


def test_more_bits_keep_the_rank_and_shrink_the_ball():
    arguments = as_lists(draw_network("badly-scaled", 0))
    coarse, fine = truth(*arguments), truth(*arguments, bits=2000)
    assert coarse.rank == fine.rank
    assert coarse.value.contains(fine.value)
    assert fine.digits > coarse.digits


def test_the_working_precision_is_restored():
    before = ctx.prec
    truth(perceptron(2, 3, 3), "relu", *XOR)
    assert ctx.prec == before


def test_an_undecided_sign_is_refused():
    with ctx.workprec(100), pytest.raises(OracleError, match="undecided"):
        oracle.forward(
            [([[arb(1)]], None), ([[arb(0, 1)]], None), ([[arb(1)]], None)], "relu", [1.0]
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "swish"}, "activation must be one of"),
        ({"labels": [0, 1]}, "of one length"),
        ({"labels": [0, 1, 2, 3]}, r"labels must lie in 0\.\.2"),
        ({"inputs": [], "labels": []}, "must not be empty"),
    ],
)
def test_arguments_that_describe_no_network_are_named(change, message):
    arguments = {"layers": perceptron(2, 3, 3), "activation": "relu"}
    arguments |= {"inputs": XOR[0], "labels": XOR[1]}
    with pytest.raises(ValueError, match=message):
        truth(**(arguments | change))


def test_decimals_and_floats_are_those_of_the_midpoint():
    with ctx.workprec(400):
        third, tiny = arb(1) / 3, arb(10) ** -400
    assert oracle.to_decimal(third, 40) == "0." + 40 * "3"
    assert oracle.to_float(third) == 1 / 3
    assert oracle.to_float(tiny) == 0.0

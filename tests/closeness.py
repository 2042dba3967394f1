"""Assertions on float64 tensors, and the allowances that they take."""

import torch

EPS = 2.0**-52
TINY = 2.0**-1022
"""Below this, numbers lose digits by underflow."""


def assert_within(actual, expected, allowance):
    """|actual − expected| ≤ allowance, entry by entry; the message shows the worst one."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, {tuple(expected.shape)}"
    actual, expected = actual.double(), expected.double()
    allowance = torch.as_tensor(allowance, dtype=torch.float64).expand(expected.shape)
    error = (actual - expected).abs()
    # Two infinities of one sign agree; NaN never does.
    excess = torch.where(actual == expected, 0.0, error / allowance)
    excess = torch.where(excess.isnan(), float("inf"), excess).flatten()
    if excess.numel() == 0 or float(excess.max()) <= 1:
        return
    worst = int(excess.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), expected.shape))
    raise AssertionError(
        f"entry {index}: got {actual.flatten()[worst]:.17g}, "
        f"expected {expected.flatten()[worst]:.17g}, "
        f"{excess[worst]:.3g} times the allowance of {allowance.flatten()[worst]:.3g}"
    )


def assert_rows_agree(actual, expected, *, multiple=64):
    """Two ways to compute Jacobian rows agree to a multiple of eps of each row's largest entry."""
    size = expected.abs().amax(dim=1, keepdim=True)
    assert_within(actual, expected, multiple * EPS * size + TINY)

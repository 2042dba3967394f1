"""Jacobians by the definition: one sample, one logit, one backward pass of the user's own model."""

import torch


def naive_jacobian(model, x):
    """(N·C, m) of a module on positional input x, parameters in the module's order."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = [_row(logit, parameters) for i in range(len(x)) for logit in model(x[i : i + 1])[0]]
    return torch.stack(rows)


def _row(logit, parameters):
    gradients = torch.autograd.grad(logit, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(parameters, gradients, strict=True)
        ]
    )


def every_logit(problem):
    """Cotangents that ask for the rows of J itself, shape (N, C, C)."""
    return torch.eye(problem.num_classes, dtype=torch.float64).repeat(problem.num_samples, 1, 1)

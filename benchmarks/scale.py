"""Iterations and CPU seconds to the IGS of a network whose Jacobian is best not formed.

    IGSREF_DATA=FOLDER python benchmarks/scale.py --samples 200
    python benchmarks/scale.py --data synthetic --train 300 --samples 20

A ResNet-8 with 78,042 parameters, half trained. One probe w = Σ z_i v_i, for which ‖P w‖² is known
where a certificate shows the network to be saturated: it is ‖w‖². How much of that is found:

    igsref           block Krylov with EKFAC and sample weights, as matrixfree_igs runs it
    no weights       the same with EKFAC alone
    nothing          the same with neither: LSQR, reorthogonalised
    curvlinops LSMR  on its GGN in float32, g = Aᵀw, ‖P w‖² ≈ gᵀx/N_F
    curvlinops CG    the same with the damping that makes it converge, 1e-3
    top 100          the IGS_100 of all samples, as a share of their IGS

Iterations are products with A and Aᵀ for one vector; seconds are of this process and its threads.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import igsref
from benchmarks.shares import HEADER, Found, krylov_shares, processor_time
from experiments.cifar_igs import DATA, images
from experiments.tables import in_plain_text
from experiments.training import train_or_load
from igsref.curvature.operators import factor_operator
from igsref.geometry.compressed import saturation_certificate
from igsref.geometry.right_hand_sides import right_hand_sides

LADDER = (10, 30, 100)
"""Iterations that curvlinops' solvers are stopped at; each run begins anew."""
DAMPING = 1e-3
PAIRS = 100


def peer_shares(name: str, model: nn.Module, problem: igsref.Problem, data: tuple) -> Found:
    """The same probe by a solver of curvlinops on its GGN, in float32."""
    from curvlinops import CGInverseLinearOperator, GGNLinearOperator, LSMRInverseLinearOperator

    sides = right_hand_sides(
        problem.residuals(), problem.members, problem.pool_size, heaviest=0, probes=1, seed=0
    )
    g = factor_operator(problem).adjoint(sides.matrix[:, :1])[:, 0].float()
    parameters = [p for p in model.parameters() if p.requires_grad]
    x, y = data
    ggn = GGNLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(x.float(), y)])
    shares, seconds = {}, {}
    for iterations in LADDER:
        with processor_time() as taken:
            if name == "curvlinops LSMR":
                inverse = LSMRInverseLinearOperator(ggn, maxiter=iterations, atol=0.0, btol=0.0)
            else:
                inverse = CGInverseLinearOperator(
                    damped(ggn, DAMPING), max_iter=iterations, max_tridiag_iter=0, tolerance=0.0
                )
            form = float(g.double() @ (inverse @ g).double()) / problem.pool_size
        shares[iterations] = form / float(sides.matrix[:, 0].square().sum())
        seconds[iterations] = taken[0]
    return Found(name, shares, seconds)


def damped(operator: Any, damping: float) -> Any:
    """F + λI as an operator of curvlinops."""
    from curvlinops.examples import IdentityLinearOperator

    shapes = [tuple(shape) for shape in operator._in_shape]
    return operator + damping * IdentityLinearOperator(shapes, operator.device, operator.dtype)


def truncated_share(problem: igsref.Problem, value: float) -> Found:
    """IGS_100 as a share of the IGS."""
    with processor_time() as seconds, warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.TruncationWarning)
        pairs = min(PAIRS, problem.num_rows)
        found = igsref.truncated_igs(problem, k=pairs, tolerance=1e-5)
    shares, taken = {3 * pairs: found.value / value}, {3 * pairs: seconds[0]}
    return Found(f"top {pairs}", shares, taken)


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=DATA, default="cifar10")
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--limit", type=int, default=100, help="iterations of the unaided runs")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", type=Path, default=Path("out/cifar"))
    return parser.parse_args(argv)


def measured(
    model: nn.Module, data: tuple[Tensor, Tensor], limit: int, peers: bool
) -> Iterator[Found]:
    """A row for each route, the certificate's first in the text that comes before."""
    problem = igsref.as_problem(model, data)
    ceiling = float(problem.residuals().square().sum())
    yield krylov_shares(problem, preconditioned=True, weighted=True, limit=limit)
    yield krylov_shares(problem, preconditioned=True, weighted=False, limit=limit)
    yield krylov_shares(problem, preconditioned=False, weighted=False, limit=limit)
    if peers:
        yield peer_shares("curvlinops LSMR", model, problem, data)
        yield peer_shares("curvlinops CG", model, problem, data)
        yield truncated_share(problem, ceiling)


def main(argv: list[str] | None = None) -> None:
    """Certify, measure, print a row as soon as it is there, and the table in the end."""
    chosen = parsed(argv)
    data = images(chosen.data, chosen.train, seed=0)
    trained = train_or_load("resnet8", data, epochs=chosen.epochs, folder=chosen.output)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    x, y = (part[order[: chosen.samples]] for part in trained.data.data)
    with processor_time() as seconds:
        certificate = saturation_certificate(igsref.as_problem(trained.model, (x, y)))
    print(
        f"ResNet-8, {data.name}, loss {trained.score.loss:.3f}, N = {chosen.samples}: "
        f"full row rank {'certified' if certificate.full else 'NOT shown'} in "
        f"{seconds[0]:.0f} CPU s, {torch.get_num_threads()} threads"
    )
    if not certificate.full:
        raise SystemExit("without it the true value is not known; choose fewer samples")
    rows = []
    for found in measured(trained.model, (x, y), chosen.limit, chosen.peers):
        rows.append(found.row())
        print("  ".join(found.row()), file=sys.stderr, flush=True)
    print(in_plain_text([HEADER, *rows]))


if __name__ == "__main__":
    main()

"""IGS of a CIFAR-size network: train it or load it, choose a route, print what is known.

    IGSREF_DATA=FOLDER python experiments/cifar_igs.py --network resnet8 --samples 300
    python experiments/cifar_igs.py --data synthetic --network resnet8 --samples 40 --epochs 1
    torchrun --nproc_per_node 2 experiments/cifar_igs.py --route krylov --samples 300

The network is trained on ``--train`` images and kept below ``--output``; a second run loads it. The
IGS is that of the first ``--samples`` of them, which are in random order. ``--route krylov`` leaves
the certificate out. Under ``torchrun`` the processes share the samples (gloo on CPUs, nccl on
GPUs), and the first one trains, writes and prints.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as dist

import igsref
from experiments.data import Images, load_data, random_images
from experiments.files import CorruptFile, DataNotFound, OtherSettings
from experiments.networks import NETWORKS
from experiments.training import Trained, train_or_load

SYNTHETIC = "synthetic"
DATA = ("cifar10", "cifar100", "mnist", SYNTHETIC)
PATIENCE = timedelta(hours=1)
"""How long a process waits for another one before it gives up: as long as the first one trains."""
ROUTES = {"auto": igsref.igs, "krylov": igsref.matrixfree_igs}


def images(name: str, samples: int, seed: int) -> Images:
    """So many training images in random order; labelled synthetic ones need no files."""
    if name == SYNTHETIC:
        return random_images(seed, samples)
    return load_data(name, "train", samples, seed=seed)


def report(result: igsref.Result, seconds: float) -> str:
    """The result, what its heaviest samples hold, time and memory."""
    shares = [share for _, share in result.heaviest(10)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
    return "\n".join(
        [
            str(result),
            f"top 1, top 10       {100 * shares[0]:.3g}%, {100 * sum(shares):.3g}% of what is held",
            f"time, memory       {seconds:.1f} s, {peak:.2f} GiB at the peak",
        ]
    )


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet8")
    parser.add_argument("--data", choices=DATA, default="cifar10")
    parser.add_argument("--train", type=int, default=5000, help="images that it is trained on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=300, help="N, images that the IGS is of")
    parser.add_argument("--route", choices=list(ROUTES), default="auto")
    parser.add_argument("--tolerance", type=float, default=1e-2, help="of Krylov iterations")
    parser.add_argument("--max-seconds", type=float, default=600.0)
    parser.add_argument("--checkpoint", type=Path, help="file that Krylov iterations go on from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("out/cifar"))
    chosen = parser.parse_args(argv)
    if not 0 < chosen.samples <= chosen.train:
        parser.error(f"--samples must lie in 1..{chosen.train} (--train); got {chosen.samples}")
    if chosen.epochs < 1 or not chosen.tolerance > 0:
        parser.error("--epochs must be at least 1, and --tolerance positive")
    try:
        torch.empty(0, device=chosen.device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"--device {chosen.device}: {str(error).splitlines()[0]}")
    return chosen


@contextmanager
def processes(device: str) -> Iterator[dist.ProcessGroup | None]:
    """The group of processes that torchrun has started; None where it has not."""
    if "RANK" not in os.environ:
        yield None
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield dist.group.WORLD
    finally:
        dist.destroy_process_group()


def trained_network(chosen: argparse.Namespace, group: dist.ProcessGroup | None) -> Trained:
    """Trained by the first process, loaded by the others once it is there."""
    data = images(chosen.data, chosen.train, chosen.seed)
    others_wait = group is not None and dist.get_rank(group) > 0
    if others_wait:
        dist.barrier(group=group)
    trained = train_or_load(
        chosen.network, data, epochs=chosen.epochs, seed=chosen.seed, folder=chosen.output
    )
    if group is not None and not others_wait:
        dist.barrier(group=group)
    return trained


def main(argv: list[str] | None = None) -> None:
    """Train or load, measure, print, and write the result beside the network as JSON."""
    chosen = parsed(argv)
    with processes(chosen.device) as group:
        if chosen.device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        try:
            trained = trained_network(chosen, group)
        except OtherSettings as error:
            raise SystemExit(f"{error} with --output") from None
        except (DataNotFound, CorruptFile) as error:
            raise SystemExit(str(error)) from None
        count = len(trained.data)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(chosen.seed))
        x, y = (part[order[: chosen.samples]].to(chosen.device) for part in trained.data.data)
        began = time.perf_counter()
        result = ROUTES[chosen.route](
            trained.model.to(chosen.device),
            (x, y),
            tolerance=chosen.tolerance,
            max_seconds=chosen.max_seconds,
            checkpoint=chosen.checkpoint,
            seed=chosen.seed,
            group=group,
        )
        if group is None or dist.get_rank(group) == 0:
            tell(chosen, trained, result, time.perf_counter() - began)


def tell(
    chosen: argparse.Namespace, trained: Trained, result: igsref.Result, seconds: float
) -> None:
    """Print what was trained and measured, and write the result."""
    print(
        f"{chosen.network} on {len(trained.data)} images of {trained.data.name}, "
        f"{chosen.epochs} epochs: loss {trained.score.loss:.4f}, "
        f"accuracy {100 * trained.score.accuracy:.2f}%\n\n{report(result, seconds)}"
    )
    path = chosen.output / f"{chosen.network}_igs.json"
    path.write_text(result.to_json(), encoding="utf-8")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()

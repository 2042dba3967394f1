"""IGS of a CIFAR-size network: train it or load it, choose a route, print what is known.

    IGSREF_DATA=FOLDER python experiments/cifar_igs.py --network resnet8 --samples 300
    python experiments/cifar_igs.py --data synthetic --network resnet8 --samples 40 --epochs 1

The network is trained on ``--train`` images and kept below ``--output``; a second run loads it. The
IGS is that of the first ``--samples`` of them, which are in random order. ``--route krylov`` leaves
the certificate out.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import igsref
from experiments.data import Images, load_data, random_images
from experiments.files import CorruptFile, DataNotFound
from experiments.networks import NETWORKS
from experiments.training import train_or_load

SYNTHETIC = "synthetic"
DATA = ("cifar10", "cifar100", "mnist", SYNTHETIC)
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
            f"why                {result.reason}",
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
    return chosen


def main(argv: list[str] | None = None) -> None:
    """Train or load, measure, print, and write the result beside the network as JSON."""
    chosen = parsed(argv)
    try:
        data = images(chosen.data, chosen.train, chosen.seed)
    except (DataNotFound, CorruptFile) as error:
        raise SystemExit(str(error)) from None
    trained = train_or_load(
        chosen.network, data, epochs=chosen.epochs, seed=chosen.seed, folder=chosen.output
    )
    print(
        f"{chosen.network} on {len(data)} images of {data.name}, {chosen.epochs} epochs: "
        f"loss {trained.score.loss:.4f}, accuracy {100 * trained.score.accuracy:.2f}%\n"
    )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(chosen.seed))
    x, y = (part[order[: chosen.samples]].to(chosen.device) for part in trained.data.data)
    began = time.perf_counter()
    result = ROUTES[chosen.route](
        trained.model.to(chosen.device),
        (x, y),
        tolerance=chosen.tolerance,
        max_seconds=chosen.max_seconds,
        checkpoint=chosen.checkpoint,
        seed=chosen.seed,
    )
    print(report(result, time.perf_counter() - began))
    path = chosen.output / f"{chosen.network}_igs.json"
    path.write_text(result.to_json(), encoding="utf-8")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()

"""Figure 1's network, 2-70-70-3 on three Gaussians, certified: 25 digits and the exact rank.

    python verification/figure_1.py

m = 5,393 parameters, N = 300 samples: the Gram matrix of the 600 rows of the reduced factor is an
exact rational matrix, its null vectors are lifted p-adically, and only softmax is in balls.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import igsref
from benchmarks.perceptrons import three_gaussians, torch_model


def main() -> None:
    """Print the certified values, their batches, and the heaviest samples."""
    network = three_gaussians((2, 70, 70, 3), samples=300)
    data = (torch.from_numpy(network.inputs), torch.from_numpy(network.labels))
    start = time.perf_counter()
    certified = igsref.certify(torch_model(network), data)
    seconds = time.perf_counter() - start
    print(f"{network.name}, m = {network.size}, N = {len(network.labels)}, {network.rows} rows")
    print(certified)
    print(f"IGS_10   {certified.minibatch(10)}")
    heaviest = sorted(enumerate(certified.per_sample), key=lambda term: -float(term[1]))[:3]
    for sample, term in heaviest:
        print(f"sample {sample:<4} {term}")
    print(f"{certified.bits} bits, {certified.digits} digits of the IGS; {seconds:.0f} s")


if __name__ == "__main__":
    main()

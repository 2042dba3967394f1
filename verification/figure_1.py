"""Figure 1's network, 2-70-70-3 on three Gaussians, certified: 25 digits and the exact rank.

    python verification/figure_1.py

m = 5,393 parameters, N = 300 samples: the Gram matrix of the 600 rows of the reduced factor is an
exact rational matrix, its null vectors are lifted p-adically, and only softmax is in balls. The
trained network is stored, since training rounds differently from machine to machine.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from safetensors.torch import load_file
from torch import Tensor, nn

import igsref

STORED = Path(__file__).with_name("data") / "figure_1.safetensors"


def stored_network() -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """The network, and its samples with their classes."""
    tensors = load_file(STORED)
    data = tensors.pop("inputs"), tensors.pop("labels").long()
    layers: list[nn.Module] = []
    for index in range(0, 5, 2):
        width, fan_in = tensors[f"{index}.weight"].shape
        layers += [nn.Linear(fan_in, width).double(), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).eval()
    model.load_state_dict(tensors)
    return model, data


def main() -> None:
    """Print the certified values, their batches, and the heaviest samples."""
    model, data = stored_network()
    start = time.perf_counter()
    certified = igsref.certify(model, data)
    seconds = time.perf_counter() - start
    print(f"m = {sum(p.numel() for p in model.parameters())}, N = {len(data[1])}")
    print(certified)
    print(f"IGS_10   {certified.minibatch(10)}")
    heaviest = sorted(enumerate(certified.per_sample), key=lambda term: -float(term[1]))[:3]
    for sample, term in heaviest:
        print(f"sample {sample:<4} {term}")
    print(f"{certified.bits} bits, {certified.digits} digits of the IGS; {seconds:.0f} s")


if __name__ == "__main__":
    main()

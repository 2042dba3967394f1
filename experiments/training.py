"""Train a network of the experiments, or load it: SGD with Nesterov momentum, cosine schedule.

Step t of T has the learning rate γ/2·(1 + cos(πt/T)) (Loshchilov & Hutter, ICLR 2017, without
restarts); weight decay acts on all parameters. After each epoch all is written to a folder:
NETWORK.json, which says what was trained and names the file of the tensors, and
NETWORK.epoch-K.safetensors. A run that was killed goes on after its last finished epoch, and ends
with the weights of a run that was not: bit for bit on one thread, since the random numbers of an
epoch are drawn from the seed and its number alone. Half-trained is: few epochs.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Generator, Tensor, nn
from tqdm import tqdm

from experiments.data import Images, generator, with_label_noise
from experiments.files import CorruptFile, refuse_others
from experiments.networks import build
from igsref.arguments import check_number, checked_integer
from igsref.files import replacing
from igsref.progress import SECONDS_BEFORE_PROGRESS, interruptible
from igsref.randomness import preserved_random_state

_SCORED_AT_ONCE = 500
_MODEL, _MOMENTUM = "model.", "momentum."


@dataclass(frozen=True)
class Settings:
    """All that decides the weights, up to rounding."""

    network: str
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    label_noise: float
    flips: bool
    crops: int
    seed: int
    data: str
    samples: int
    num_classes: int
    digest: str

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("crops", 0), ("seed", 0)):
            checked_integer(name, getattr(self, name), least=least)
        for name in ("learning_rate", "momentum", "weight_decay", "label_noise"):
            check_number(name, getattr(self, name))
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            got = f"got {self.learning_rate} and {self.weight_decay}"
            raise ValueError(f"learning_rate must be positive, weight_decay at least 0; {got}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1; got {self.momentum}")

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return math.ceil(self.samples / self.batch_size)


class Score(NamedTuple):
    """Mean cross-entropy in nats, and the share of images whose largest logit is the label's."""

    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Trained:
    """A network in evaluation mode and float32, what it was trained on, and its score there.

    data: with the labels that it saw, so with their noise. losses: the mean over each epoch's
    steps, in training mode.
    """

    model: nn.Module
    data: Images
    score: Score
    losses: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _State:
    """Where a run is: after ``len(losses)`` epochs."""

    model: nn.Module
    optimizer: torch.optim.SGD
    losses: tuple[float, ...]


def train_or_load(
    network: str,
    data: Images,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    label_noise: float = 0.0,
    flips: bool = False,
    crops: int = 0,
    seed: int = 0,
    folder: Path | str,
) -> Trained:
    """The network that these settings give: from the folder, or trained and written there.

    label_noise: the probability of a label to be replaced, see ``with_label_noise``. flips,
    crops: mirror images at random, shift them by up to so many pixels of zeros. Everything runs
    where ``data.images`` are. One process at a time may use a folder for a network.
    Raises OtherSettings where the folder holds the network with other settings, CorruptFile for
    damaged files, ValueError for settings out of range, FloatingPointError where the loss
    overflows; KeyboardInterrupt with what was reached.
    """
    noisy = with_label_noise(data, label_noise, seed)
    options = (epochs, batch_size, learning_rate, momentum, weight_decay, label_noise, flips, crops)
    source = (data.name, len(data), data.num_classes, _digest(data))
    settings = Settings(network, *options, seed, *source)
    folder = Path(folder)
    state = _started(settings, noisy)
    if _description(folder, network).is_file():
        state = _resumed(state, settings, folder)
    first = len(state.losses)
    so_far = f"each that is done is kept in {folder}"
    with interruptible("epochs", epochs - first, so_far) as shown:
        for epoch in shown(range(first, epochs)):
            loss = _run_epoch(state, settings, noisy, epoch)
            state = _State(state.model, state.optimizer, (*state.losses, loss))
            _save(state, settings, folder)
    model = state.model.eval()
    return Trained(model, noisy, score(model, noisy), state.losses)


@torch.no_grad()
def score(model: nn.Module, data: Images) -> Score:
    """Mean loss and accuracy of a model, in evaluation mode while it lasts; added in float64."""
    training = model.training
    model.eval()
    loss, right = 0.0, 0
    for x, y in zip(*(part.split(_SCORED_AT_ONCE) for part in data.data), strict=True):
        logits = model(x).double()
        loss += float(nn.functional.cross_entropy(logits, y, reduction="sum"))
        right += int((logits.argmax(dim=1) == y).sum())
    model.train(training)
    return Score(loss / len(data), right / len(data))


def augmented(images: Tensor, drawn: Generator, *, flips: bool, crops: int) -> Tensor:
    """Each image mirrored with probability ½, and moved by −crops … crops pixels along each axis.

    What comes in from outside is 0, the mean colour.
    """
    n, channels, height, width = images.shape
    if flips:
        mirrored = torch.rand(n, generator=drawn) < 0.5
        images = torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
    if not crops:
        return images
    padded = nn.functional.pad(images, (crops,) * 4)
    starts = torch.randint(2 * crops + 1, (2, n, 1), generator=drawn)
    rows = (starts[0] + torch.arange(height)).view(n, 1, height, 1)
    columns = (starts[1] + torch.arange(width)).view(n, 1, 1, width)
    samples = torch.arange(n).view(n, 1, 1, 1)
    places = samples, torch.arange(channels).view(1, -1, 1, 1), rows, columns
    return padded[tuple(place.to(images.device) for place in places)]


def _started(settings: Settings, data: Images) -> _State:
    """The network as its seed initialises it."""
    with preserved_random_state():  # torch's layers fill themselves
        torch.manual_seed(settings.seed)
        model = build(settings.network, settings.num_classes, data.in_channels)
    model = model.to(data.images.device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
    )
    return _State(model, optimizer, ())


def _run_epoch(state: _State, settings: Settings, data: Images, epoch: int) -> float:
    """One pass over the data in random order; the mean loss of its steps.

    The batches are equal up to one image: BatchNorm cannot do with a last one of a single image.
    """
    drawn = generator("epoch", settings.seed, epoch)
    batches = torch.randperm(len(data), generator=drawn).tensor_split(settings.steps)
    state.model.train()
    total = 0.0
    bar = {"delay": SECONDS_BEFORE_PROGRESS, "leave": False, "disable": None}
    for step, batch in enumerate(tqdm(batches, desc=f"epoch {epoch + 1}", **bar)):
        places = batch.to(data.images.device)
        images = augmented(data.images[places], drawn, flips=settings.flips, crops=settings.crops)
        for group in state.optimizer.param_groups:
            group["lr"] = _learning_rate(settings, epoch * settings.steps + step)
        state.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(state.model(images), data.labels[places])
        loss.backward()
        state.optimizer.step()
        total += float(loss.detach())
    if not math.isfinite(total):
        raise FloatingPointError(f"{settings.network} diverged in epoch {epoch + 1}: loss {total}")
    return total / settings.steps


def _learning_rate(settings: Settings, step: int) -> float:
    """γ/2·(1 + cos(πt/T)) before step t of T, counted from 0."""
    done = step / (settings.epochs * settings.steps)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2


def _digest(data: Images) -> str:
    """SHA-256 of images and labels, as they came."""
    digest = hashlib.sha256()
    for part in data.data:
        digest.update(repr(tuple(part.shape)).encode())
        digest.update(part.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _description(folder: Path, network: str) -> Path:
    return folder / f"{network}.json"


def _tensor_file(network: str, epoch: int) -> str:
    return f"{network}.epoch-{epoch}.safetensors"


def _save(state: _State, settings: Settings, folder: Path) -> None:
    """Write the tensors under a name of their own, then the description that points there.

    Whenever the process is killed, the description names a complete file.
    """
    epoch = len(state.losses)
    tensors = {_MODEL + name: value for name, value in state.model.state_dict().items()}
    if epoch < settings.epochs:
        for name, value in state.model.named_parameters():
            if (velocity := state.optimizer.state[value].get("momentum_buffer")) is not None:
                tensors[_MOMENTUM + name] = velocity
    content = save_tensors({name: value.contiguous() for name, value in tensors.items()})
    with replacing(folder / _tensor_file(settings.network, epoch)) as temporary:
        temporary.write_bytes(content)
    description = {
        "settings": asdict(settings),
        "losses": state.losses,
        "tensors": _tensor_file(settings.network, epoch),
        "sha256": hashlib.sha256(content).hexdigest(),
        "torch": torch.__version__,
    }
    with replacing(_description(folder, settings.network)) as temporary:
        temporary.write_text(f"{json.dumps(description, indent=1)}\n")
    for other in {*range(1, settings.epochs + 1)} - {epoch}:
        (folder / _tensor_file(settings.network, other)).unlink(missing_ok=True)


def _resumed(state: _State, settings: Settings, folder: Path) -> _State:
    """Model, velocities and losses as they were written. Raises OtherSettings, CorruptFile."""
    path = _description(folder, settings.network)
    description = _described(path)
    refuse_others(path, asdict(settings), description["settings"])
    tensors = _stored_tensors(folder / description["tensors"], description["sha256"])
    model = {key.removeprefix(_MODEL): tensors[key] for key in tensors if key.startswith(_MODEL)}
    state.model.load_state_dict(model)
    for name, value in state.model.named_parameters():
        if (velocity := tensors.get(_MOMENTUM + name)) is not None:
            state.optimizer.state[value]["momentum_buffer"] = velocity.to(value.device)
    return _State(state.model, state.optimizer, tuple(description["losses"]))


def _described(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise CorruptFile(f"{path} must be JSON; {error}") from error
    fields = {"settings": dict, "losses": list, "tensors": str, "sha256": str}
    for name, kind in fields.items():
        if not isinstance(description, dict) or not isinstance(description.get(name), kind):
            raise CorruptFile(f"{path} must have the fields {', '.join(fields)}; see {name}")
    return description


def _stored_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise CorruptFile(f"{path} must hold the network's tensors; there is no such file")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptFile(f"{path} must have the SHA-256 that its description states: remove both")
    return load_tensors(content)

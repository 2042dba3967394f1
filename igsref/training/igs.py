"""The IGS step: gradients at θ + δ, δ = ρ F⁺g, equation (13).

Jang, Lee, Park, Noh, "A Reparametrization-Invariant Sharpness Measure Based on Information
Geometry", NeurIPS 2022. To first order the loss of a batch B rises by ρ ḡ_B F⁺ ḡ_Bᵀ there, whose
mean over batches is ρ·IGS_b, equation (7). F⁺ is what the caller gives: EKFAC unless he gives
another one. With it the protocol of :mod:`.two_pass` is, by hand,

    for x, y in parts:
        with optimizer.reading():         # keeps what the model is called with, for EKFAC
            loss_of(model(x), y).backward()
    optimizer.perturb()
    for x, y in parts: loss_of(model(x), y).backward()
    optimizer.restore()
    optimizer.base.step()

and ``optimizer.step(closure)`` as for all others.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from igsref.arguments import check_model, checked_positive, described
from igsref.data import Samples
from igsref.training.ekfac import EKFAC
from igsref.training.live import bare, process_group, samples_of
from igsref.training.two_pass import Gradients, TwoPass, check_like

_RISES = 1000

Preconditioner = Callable[[Gradients], Mapping[str, Tensor]]
"""Gradients g by the parameters' names ↦ F⁺g by the same names; linear, positive semidefinite."""


class Rise(NamedTuple):
    """How much the loss rises from θ to θ + δ, in the loss's own unit.

    predicted: g·δ. actual: what two passes found; None where they were not made by ``step``.
    """

    predicted: float
    actual: float | None


class IGS(TwoPass):
    """The IGS step, normalised or plain.

    normalised (the default): δ = ρ F⁺g/√(gF⁺g), which of all δ with δᵀFδ ≤ ρ², so of about
        KL(θ + δ ‖ θ) ≤ ρ²/2, has the largest g·δ = ρ √(gF⁺g). Its length in that metric stays ρ
        while gradients fall. With a damped F + λ in place of F, the same for F + λ.
    plain: δ = ρ F⁺g, as the paper writes it, with g·δ = ρ gF⁺g. It bounds nothing: δ is as long
        as the gradient makes it, and fades with it.

    In the model's names, without a prefix of ``DistributedDataParallel``:

    preconditioner: any function of gradients by names that returns F⁺g by the same names, or an
        :class:`EKFAC` of this model, which is then kept up to date from what the model is called
        with at θ; EKFAC(model) unless given. Of a ``DistributedDataParallel`` it must be one too,
        EKFAC(model), so that all processes have the same.
    rises: predicted and actual :class:`Rise` of the last 1,000 steps, the newest last. Of several
        processes each has its own losses, and the predicted rise of all together.

    Raises TypeError or ValueError that names the argument.
    """

    rho: float
    normalised: bool
    preconditioner: Preconditioner

    def __init__(
        self,
        model: nn.Module,
        base_optimizer: torch.optim.Optimizer,
        *,
        rho: float = 0.02,
        normalised: bool = True,
        preconditioner: Preconditioner | None = None,
    ) -> None:
        check_model(model)
        self.rho, self.normalised = checked_positive("rho", rho), normalised
        settings = {"method": "IGS", "rho": self.rho, "normalised": normalised}
        super().__init__(bare(model), base_optimizer, self._change, settings=settings)
        self.preconditioner = EKFAC(model) if preconditioner is None else preconditioner
        if not callable(self.preconditioner):
            raise TypeError(
                "preconditioner must be an EKFAC or a function of gradients by name; got "
                f"{described(preconditioner)}"
            )
        if isinstance(self.preconditioner, EKFAC) and self.preconditioner.model is not self.model:
            raise ValueError("preconditioner must be an EKFAC of model; it is one of another model")
        group = getattr(self.preconditioner, "group", None)
        if isinstance(self.preconditioner, EKFAC) and group is not process_group(model):
            raise ValueError(
                "preconditioner must be an EKFAC of the same DistributedDataParallel as model, "
                "with the statistics of all processes"
            )
        self.rises: deque[Rise] = deque(maxlen=_RISES)
        self._parts: list[Samples] = []

    @contextmanager
    def reading(self, labels: Tensor | None = None) -> Iterator[None]:
        """Keep what the model is called with inside, as part of the batch, for EKFAC's statistics.

        labels: those of the samples inside, for label rules that ask for them.
        Raises TypeError for inputs that are no tensors, ValueError for labels of another number.
        """
        if not isinstance(self.preconditioner, EKFAC):
            yield
            return
        read: list[Samples] = []

        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if module is self.model:  # not a copy of it, to which hooks go along
                read.append(samples_of(args, kwargs))

        hook = self.model.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()
        self._parts += read if labels is None else _labelled(read, labels)

    def perturb(self) -> None:
        """As of every :class:`TwoPass`; a preconditioner that is an EKFAC is brought up to date.

        Raises RuntimeError where an EKFAC has read nothing: see :meth:`reading`.
        """
        try:
            super().perturb()
        finally:
            self._parts = []

    def step(self, closure: Callable[[], Any], labels: Tensor | None = None) -> Any:
        """Both passes and a step of the base optimizer; the loss at θ.

        closure: clears the gradients, computes the loss, runs backward and returns the loss.
        labels: of the batch, for label rules that ask for them.
        """
        losses: list[Any] = []
        self._parts = []

        def watched() -> Any:
            with nullcontext() if losses else self.reading(labels):
                losses.append(closure())
            return losses[-1]

        loss = super().step(watched)
        before, after = (torch.as_tensor(value).item() for value in losses)
        self.rises[-1] = self.rises[-1]._replace(actual=after - before)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """That of the base optimizer, the settings, and an EKFAC that is the preconditioner."""
        state = super().state_dict()
        if isinstance(self.preconditioner, EKFAC):
            state["ekfac"] = self.preconditioner.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was.

        Raises ValueError for the state of other settings, or of an EKFAC of another model.
        """
        if isinstance(self.preconditioner, EKFAC):
            self._check_state(state, "settings", "base", "ekfac")
            self.preconditioner.load_state_dict(state["ekfac"])
        super().load_state_dict(state)

    def _change(self, gradients: Gradients) -> dict[str, Tensor]:
        """δ; 0 where gF⁺g is."""
        if isinstance(self.preconditioner, EKFAC):
            if not self._parts:
                raise RuntimeError(
                    "perturb must follow a pass inside `with optimizer.reading():`, from which "
                    "EKFAC has its statistics; nothing was read"
                )
            self.preconditioner.update_in_parts(self._parts)
        natural = self.preconditioner(gradients)
        check_like(natural, gradients, "what preconditioner returns")
        energy = self._energy(gradients, natural)
        length = energy**0.5 if self.normalised else 1.0
        size = self.rho / length if length else 0.0
        self.rises.append(Rise(size * energy, None))
        return {name: size * natural[name] for name in gradients}

    @staticmethod
    def _energy(gradients: Gradients, natural: Mapping[str, Tensor]) -> float:
        """gF⁺g; what is below 0 by less than √eps ‖g‖‖F⁺g‖ is rounding."""
        products = [(g * natural[name]).sum() for name, g in gradients.items()]
        lengths = [g.norm() * natural[name].norm() for name, g in gradients.items()]
        energy, length = torch.stack([torch.stack(products), torch.stack(lengths)]).sum(1).tolist()
        slack = torch.finfo(products[0].dtype).eps ** 0.5 * length
        if not -slack <= energy < float("inf"):
            raise FloatingPointError(f"g·F⁺g must be finite and not negative; it is {energy}")
        return max(energy, 0.0)


def _labelled(read: list[Samples], labels: Tensor) -> list[Samples]:
    """The same with their labels, which come in the order in which the model was called."""
    sizes = [len(part) for part in read]
    if len(labels) != sum(sizes):
        raise ValueError(
            f"labels must be those of the {sum(sizes)} samples inside; got {len(labels)}"
        )
    parts = zip(read, labels.split(sizes), strict=True)
    return [Samples(part.args, part.kwargs, own) for part, own in parts]

"""Networks whose gap and measures are made up."""

from collections.abc import Callable

from experiments.populations import Subject


def subjects(count: int, **measures: Callable[[float], float]) -> list[Subject]:
    """Gaps 1, 2, …, each measure a function of the gap; the IGS is the gap itself."""
    return [
        Subject(
            name=f"network {number}",
            parameters=10 + number,
            epochs=1,
            training_loss=(1 + number) / 10,
            gap=1.0 + number,
            error_gap=0.1,
            measures={
                "IGS": 1.0 + number,
                **{name: measure(1.0 + number) for name, measure in measures.items()},
            },
            bracket=(1.0 + number, 1.0 + number),
            refused={},
            reached=True,
            seconds=0.0,
        )
        for number in range(count)
    ]

"""The figure of pool_saturation.py: saturation against the pool's size, leverage against loss."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.leverage import Row
from experiments.pools import COPIES, ENOUGH, IMAGES, Point

BLUE, ORANGE = "#0072B2", "#D55E00"
STYLE = {"font.size": 8, "axes.titlesize": 8, "axes.linewidth": 0.6}


def picture(points: list[Point], rows: list[Row]) -> Figure:
    """Saturation against relative size of the pool; leverage against loss in one network.

    It is the first one with wrong and right labels, or, where none has both, the first one.
    """
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_saturation(left, points)
    draw_leverage(right, next((row for row in rows if row.mixed), rows[0]))
    return figure


def draw_saturation(panel: Axes, points: list[Point]) -> None:
    styles = {
        IMAGES: (BLUE, "o-", "other training images"),
        COPIES: (ORANGE, "s--", "copies, mirrored and shifted"),
    }
    for kind, (colour, style, label) in styles.items():
        own = sorted((p for p in points if p.kind == kind), key=lambda p: p.ratio)
        x, y = [p.ratio for p in own], [p.saturation for p in own]
        panel.plot(x, y, style, color=colour, markersize=4, linewidth=1.2, label=label)
    panel.axhline(ENOUGH, color="black", linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)
    panel.set(xlabel="$N_F(C-1)/m$", ylabel="saturation, IGS / ceiling", ylim=(0, 1.04))
    panel.legend(loc="lower left", frameon=False)
    panel.set_title(f"(a)  $m = {points[0].parameters:,}$", loc="left")


def draw_leverage(panel: Axes, row: Row) -> None:
    """The images with right labels, and those with wrong ones, if there are such."""
    wrong = torch.tensor(row.wrong)
    loss, leverage = torch.tensor(row.sample_loss), torch.tensor(row.leverage)
    groups = ((~wrong, BLUE, "o", "right label"), (wrong, ORANGE, "^", "wrong label"))
    for which, colour, marker, label in groups:
        if not which.any():
            continue
        panel.scatter(
            *(loss[which], leverage[which]),
            **{"s": 11, "c": colour, "marker": marker, "linewidths": 0, "alpha": 0.6},
            label=f"{label} ({int(which.sum())})",
        )
    panel.set(xscale="log", xlabel="training loss of the image (nats)", ylim=(0, 1.04))
    panel.set(ylabel="leverage $\\Vert P v_i\\Vert^2/\\Vert v_i\\Vert^2$ in the pool")
    panel.legend(loc="lower right", frameon=False)
    panel.set_title(f"(b)  network: {row.name}", loc="left")

"""docs/reproduction.md: figure by figure the paper's claim, our setting and numbers, a verdict.

    python experiments/reproduction.py --collect out
    python experiments/reproduction.py

It is written from the JSON files of docs/results, which the scripts of the experiments leave below
their ``--output``: ``--collect`` copies them from there.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import findings, studies, verdicts
from experiments.associations import mean_and_error
from experiments.controls import CLASSES
from experiments.findings import finding_of
from experiments.populations import (
    BATCHES,
    DECAYS,
    DEPTHS,
    EPOCHS,
    FREE,
    IMAGES,
    MATCHED,
    RATES,
    SIDES,
    TARGET,
    WIDTHS,
    WRONG,
)
from experiments.studies import ROWS, SYNTHETIC, study_of
from experiments.tables import in_markdown
from experiments.verdicts import Verdict, Word

RESULTS = Path("docs/results")
PAGE = Path("docs/reproduction.md")
DATA = ("mnist", "cifar10")
TABLE_ROWS = [row for row in ROWS if row != SYNTHETIC]
"""The paper's seven rows of Table 1, and one that two processor cores can do."""
SMOOTHINGS = (0.0, 0.1)
NAMES = (
    *(f"figure3-{data}.json" for data in DATA),
    *(f"table1-{row}-{level:g}.json" for row in TABLE_ROWS for level in SMOOTHINGS),
    "figure5.json",
    "igs-step.json",
)
PICTURES = tuple(f"figure3-{data}.png" for data in DATA)

Results = Mapping[str, Any]
"""File name ↦ what it holds."""

HEAD = """# The paper's figures and Table 1, tried again

Jang, Lee, Park, Noh, *A Reparametrization-Invariant Sharpness Measure Based on Information
Geometry*, NeurIPS 2022. Its equations, propositions and appendices are in [claims.md](claims.md),
each proved, corrected or refuted; here is what it shows by experiment. Its main text does not give
the settings beyond what is named below: claims are reproduced here, not numbers. Written by
`python experiments/reproduction.py` from `docs/results`, which holds what the scripts wrote below
`out` (`--collect out` copies it there); those that need MNIST or CIFAR say which files they look
for in the folder that `IGSREF_DATA` names. A verdict is a rule on those numbers, which stands in
`experiments/verdicts.py`: a coefficient or difference counts where its 95% interval does not hold
0, the bootstrap's over networks, Student's t over seeds. Numbers after ± are standard errors."""

SHOWN_ELSEWHERE = """## Figures 1, 2 and 4

Judged by hand, on pages of their own, and not counted below.

- **Figure 1**, the spectrum of F: few outliers, and the remaining eigenvalues almost 0. *Confirmed
  in part*: [the outliers are there](claims.md#few-outliers-and-almost-zero) and hold most of Tr F,
  but the others are no cluster at 0, and leaving them out loses most of the IGS.
  `python toy/three_gaussians.py`.
- **Figure 2**, measures under a nonlinear change of parameters: only the IGS stays. *Confirmed*,
  with brackets. With the centre at the weights themselves, as the authors' code has it, the map is
  a change of unit; we tried two more, under which it [stays too](reparametrization.md).
  `python toy/reparametrization.py`.
- **Figure 4**, boundaries move across a sample along an eigenvector. *Confirmed in part*: along
  [leading eigenvectors](margins.md) they do; along those of small λ, which make up nearly all of
  the sum (11), the first-order step is longer than the weights. `python toy/margins.py`."""


def page(results: Results) -> str:
    """In Markdown, of whatever results there are."""
    parts = [HEAD, overview(results), SHOWN_ELSEWHERE]
    parts += [figure3(results), figure5(results), table1(results), igs_step(results)]
    return "\n\n".join([*parts, conclusion(results)]) + "\n"


def judged(results: Results) -> Iterator[tuple[str, str, Verdict]]:
    """What, the paper's claim, and the verdict, for everything that has results or could have."""
    for data in DATA:
        claim = "the gap rises with the IGS, more closely than with other measures"
        parts = _parts(results, data)
        for name in (FREE, MATCHED):
            yield f"Figure 3, {data}, {name}", claim, _verdict(verdicts.population, parts.get(name))
    claim = "IGS/N estimates the gap, equation (9)"
    found = _parts(results, DATA[0]).get("control")
    yield "Figure 3's control, where theory applies", claim, _verdict(verdicts.control, found)
    claim = "with the IGS as a regulariser fewer wrong labels are fitted, and the gap is narrower"
    yield "Figure 5", claim, _verdict(verdicts.poisoned, results.get("figure5.json"))
    claim = "the IGS step is better than SGD, and as good as any"
    for row in TABLE_ROWS:
        for level in SMOOTHINGS:
            study = _study(results, row, level)
            yield f"Table 1, {row}, smoothing {level:g}", claim, _verdict(verdicts.table, study)


def overview(results: Results) -> str:
    """A line for each verdict that was reached; those that were not run in one sentence."""
    rows, absent = [["what", "claim", "verdict"]], []
    for what, claim, verdict in judged(results):
        if verdict.word == Word.NOT_RUN:
            absent.append(what)
        else:
            rows.append([what, claim, f"**{verdict.word}**: {verdict.why}"])
    table = in_markdown(rows).replace("---:", "---")
    whole = absent.copy()
    for row in TABLE_ROWS:  # of which no smoothing was run, one entry
        both = [f"Table 1, {row}, smoothing {level:g}" for level in SMOOTHINGS]
        if set(both) <= set(absent):
            place = whole.index(both[0])
            whole[place : place + len(both)] = [f"Table 1, {row}"]
    return f"{table}\n\nNot run: {'; '.join(whole)}." if absent else table


def figure3(results: Results) -> str:
    """Tables of all parts that were run."""
    text = [
        "## Figure 3: does the IGS go with the gap?",
        "*The paper*: over networks trained with different settings the IGS has the largest "
        "correlation with the generalisation gap. *Ours* (`python experiments/correlation.py "
        "--data mnist`, `--data cifar10`): "
        f"{_numbers(DEPTHS)} hidden layers of {_numbers(WIDTHS)} ReLU units, {IMAGES} training "
        f"images averaged to {SIDES['mnist']} × {SIDES['mnist']} pixels (CIFAR-10: "
        f"{SIDES['cifar10']} × {SIDES['cifar10']}), so that the dense route fits; SGD with rate "
        f"{_numbers(RATES)}, batch {_numbers(BATCHES)}, weight decay {_numbers(DECAYS)}, share of "
        f"wrong labels {_numbers(WRONG)}, {_numbers(EPOCHS)} epochs, drawn at random; and the same "
        f"recipes until the training loss is {TARGET}. The gap is the loss on all test images, "
        "whose labels are right, less that on the training images, with the labels that the "
        "network saw: it is below 0 where wrong labels are not fitted. All networks have the same "
        "training images: intervals are over networks, not over data. Where float64 leaves the "
        "rank of F open the IGS has a bracket up to its ceiling, and its value is near the lower "
        f"end. The control: {CLASSES} classes, a softmax taught by a softmax or by a tanh network, "
        "a tanh network taught by its like, the gap on fresh data, mean over training sets "
        "(`experiments/controls.py`). AIC is m/N.",
    ]
    for data, picture in zip(DATA, PICTURES, strict=True):
        own = list(_parts(results, data).values())
        shown = f"![Coefficients of all measures, and the gap against the IGS](results/{picture})"
        text.append(f"### {data}")
        text += [shown, *map(findings.in_page, own)] if own else ["Not run."]
    return "\n\n".join(text)


def figure5(results: Results) -> str:
    """Changes of the gap by method."""
    found = results.get("figure5.json")
    text = ["## Figure 5: does it keep wrong labels out?"]
    if found is None:
        return "\n\n".join([*text, "Not run."])
    clean, wrong = found["points"]
    seeds = len(found["methods"]["plain"]["gap"])
    text.append(
        f"*The paper*: three spirals, {clean} clean points and {wrong} under a wrong label; with "
        "the regulariser the boundary ignores these. *Ours*: the same numbers of points, a "
        f"2-16-16-3 network, {found['steps']} steps of Adam (not SGD: a method that only rescales "
        f"the gradient then changes nothing), {seeds} seeds, ρ chosen on two others "
        "(`python toy/poisoned_labels.py`, `--choose`). *Early* is plain training stopped at the "
        "training loss that the method ends with. A narrow gap alone can mean that little was "
        "learnt: see the training loss."
    )
    names = list(found["methods"]["plain"])
    rows = [["method", "ρ", *names]]
    for method, own in found["methods"].items():
        cells = ["{:.3g} ± {:.2g}".format(*mean_and_error(own[name])) for name in names]
        rows.append([method, f"{found['rhos'][method]:g}", *cells])
    text += [in_markdown(rows), "Changes, seed by seed:"]
    rows = [["method", "gap less plain", "gap less early", "wrong learnt less plain", "wider gap"]]
    for each in verdicts.changes(found["methods"]):
        cells = ["{:+.2f} ± {:.2f}".format(*mean_and_error(c)) for c in each[1:]]
        wider = sum(change > 0 for change in each.from_plain)
        rows.append([each.method, *cells, f"{wider} of {seeds} seeds"])
    text.append(in_markdown(rows))
    return "\n\n".join(text)


def table1(results: Results) -> str:
    """A table for each row and smoothing, or that it was not run."""
    text = [
        "## Table 1: is a network better that was trained with it?",
        "*The paper*: SGD, GR, SAM, ASAM and IGS on seven pairs of network and data, with IGS as "
        "good as the best. *Ours*: ρ chosen on training images that are held out, never on test "
        "images; SGD with momentum and cosine annealing under all; differences of equal seeds, "
        "mean ± standard error (`python experiments/table1.py --row …`, which says with `--pace` "
        "how long a row takes). With ρ *usual* it was not chosen. The "
        "column *paper* has the accuracies that are known to us, which are those of one row; "
        "whether with smoothing, the paper does not say. On 10,000 test images an accuracy of 98% "
        "has a binomial standard error of .14 points, which the differences share in part. The "
        "row cifar10-resnet8 is not in the paper. The last column is wall time, with two "
        "trainings at a time.",
    ]
    for row in TABLE_ROWS:
        for level in SMOOTHINGS:
            found = _study(results, row, level)
            absent = f"**{row}**, smoothing {level:g}: not run."
            text.append(absent if found is None else studies.in_page(found))
    return "\n\n".join(text)


def igs_step(results: Results) -> str:
    """Cosines of H F⁺ g with g."""
    found = results.get("igs-step.json")
    text = [
        "## What (13) does where H ≈ F",
        "To first order the gradient at θ + ρF⁺g is g + ρHF⁺g; where H = F, which the paper takes "
        "for trained networks, that is (1 + ρ)g: a longer step in the same direction.",
    ]
    if found is None:
        return "\n\n".join([*text, "Not run."])
    rows = [["epochs", "loss", "‖H − F‖/‖F‖", "λ = .1 λmax", "1e-3", "1e-6", "pseudo-inverse"]]
    for own in found["stages"]:
        numbers = [f"{own['loss']:.3f}", f"{own['difference']:.3f}"]
        rows.append([str(own["epochs"]), *numbers, *(f"{value:.3f}" for value in own["batches"])])
    text += [
        f"Cosine of HF⁺g with g on {found['samples']} digits, g and H of a batch, median over "
        "batches (`python toy/igs_step.py`):",
        in_markdown(rows),
    ]
    return "\n\n".join(text)


def conclusion(results: Results) -> str:
    """What to make of it, as far as the results go."""
    words = [verdict.word for _, _, verdict in judged(results)]
    count = {word: words.count(word) for word in Word}
    told = ", ".join(f"{count[word]} {word}" for word in Word if count[word])
    return "\n\n".join(
        [
            "## What to conclude",
            f"Of {len(words)} verdicts: {told}. What follows is our reading of them, and of what "
            "is proved in [claims.md](claims.md).",
            "- **As a predictor.** Never report the IGS without its ceiling Σ (exp(l_i) − 1), a "
            "function of the training losses alone, and without its saturation, their ratio: near "
            "1 it says what the losses say, without a derivative. Compare it with the training "
            "loss and with m/N, which cost nothing. Where N is well above m, and training ends at "
            "a minimum, it is what (9) says.\n"
            "- **As a regulariser.** Where the network is saturated the exact penalty is that of "
            "the ceiling. To first order in ρ the step (13) points along the gradient once H ≈ F, "
            "and along nothing in particular before: compare it with a longer step, with weight "
            "decay and with an early stop.\n"
            "- **What is not shown.** Small networks, few seeds, and settings of our own: no "
            "verdict here is one on the paper's networks.",
        ]
    )


def _numbers(values: Iterable[float]) -> str:
    """1, 2 or 3."""
    *most, last = (f"{value:g}" for value in values)
    return f"{', '.join(most)} or {last}"


def _parts(results: Results, data: str) -> dict[str, findings.Finding]:
    stored = results.get(f"figure3-{data}.json", [])
    return {found.part: found for found in map(finding_of, stored)}


def _study(results: Results, row: str, smoothing: float) -> studies.Study | None:
    stored = results.get(f"table1-{row}-{smoothing:g}.json")
    return None if stored is None else study_of(stored)


def _verdict(rule: Callable[[Any], Verdict], found: Any) -> Verdict:
    return Verdict(Word.NOT_RUN, "") if found is None else rule(found)


def loaded(folder: Path) -> dict[str, Any]:
    """All results that are there."""
    paths = [folder / name for name in NAMES]
    return {path.name: json.loads(path.read_text("utf-8")) for path in paths if path.is_file()}


def collect(source: Path, folder: Path) -> list[Path]:
    """Copy every result below a folder. Raises ValueError where two have one name."""
    copied = []
    for name in (*NAMES, *PICTURES):
        found = sorted(source.rglob(name))
        if len(found) > 1:
            raise ValueError(f"two results have the name {name}: {found[0]} and {found[1]}")
        if found:
            folder.mkdir(parents=True, exist_ok=True)
            copied.append(Path(shutil.copyfile(found[0], folder / name)))
    return copied


def main(argv: list[str] | None = None) -> None:
    """Copy results, if asked to, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--collect", type=Path, help="copy results from below this folder first")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", type=Path, default=PAGE)
    chosen = parser.parse_args(argv)
    if chosen.collect is not None:
        try:
            copied = collect(chosen.collect, chosen.results)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        if not copied:
            raise SystemExit(f"--collect: {chosen.collect} holds none of {', '.join(NAMES)}")
        print(f"copied {', '.join(path.name for path in copied)} to {chosen.results}")
    results = loaded(chosen.results)
    if not results:
        raise SystemExit(f"--results: {chosen.results} holds none of {', '.join(NAMES)}")
    chosen.write.write_text(page(results), "utf-8")
    print(f"wrote {chosen.write}")


if __name__ == "__main__":
    main()

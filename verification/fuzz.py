"""Malformed and odd models, data, files and command lines: a result that makes sense, or a refusal.

    python verification/fuzz.py --inputs 2000

draws at random (the seed is printed, and ``--seed`` repeats a run). A state machine holds one
network with its data, changes it step by step, and hands it to ``exact_igs`` and ``certify`` after
each; files of reference vectors go to the reader, and words to the command line. What is allowed is
in ``verification/fuzzing/verdict.py``. Anything else is printed as a recipe, without the changes
that it does not need, and ``--repeat RECIPE`` shows it again. Ctrl-C prints what was reached.
"""

import argparse
import re
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tqdm import tqdm

from igsref.vectors.files import PACKAGE_DATA
from verification.fuzzing import command_line, files, recipes
from verification.fuzzing.changes import BROKEN, ODD
from verification.fuzzing.command_line import MODULES, Line
from verification.fuzzing.files import FILE_CHANGES, FileRecipe
from verification.fuzzing.recipes import Recipe
from verification.fuzzing.subjects import NETWORKS
from verification.fuzzing.verdict import Outcome, limited

SHARES = {"calls": 0.7, "files": 0.22, "lines": 0.08}
"""Of all inputs: those to exact_igs and certify, to the reader, to the command line."""
STEPS = 8
_AT_ONCE = 25
_SEEDS = st.integers(0, 2**16)
_SETTINGS = settings(
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    stateful_step_count=STEPS,
)


def judged(recipe: Any) -> dict[str, Outcome]:
    """What the library does with an input, by the call that it went to; empty if it is none."""
    if isinstance(recipe, Recipe):
        return limited(lambda: recipes.tried(recipe))
    if isinstance(recipe, FileRecipe):
        return limited(lambda: files.read(recipe))
    return limited(lambda: command_line.answered(recipe))


@dataclass
class Tally:
    """What was seen of one kind of input, up to so many.

    kinds: (call, outcome) → how often. violations: what is wrong, numbers left out → the words of
    the first one, and its smallest recipe.
    """

    most: int
    progress: tqdm | None = None
    seen: set[Any] = field(default_factory=set)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: dict[str, tuple[str, Any]] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether there were as many inputs as wanted."""
        return len(self.seen) >= self.most

    def add(self, recipe: Any) -> bool:
        """Judge one input, unless it came before. False where it can not be built."""
        if self.full or recipe in self.seen:
            return True
        outcomes = judged(recipe)
        if not outcomes:
            return False
        self.seen.add(recipe)
        if self.progress is not None:
            self.progress.update()
        self.kinds.update((call, outcome.kind) for call, outcome in outcomes.items())
        for key, words in _wrong(outcomes).items():
            if key not in self.violations:
                self.violations[key] = words, _smallest(recipe, key)
        return True


def _wrong(outcomes: dict[str, Outcome]) -> dict[str, str]:
    """Everything that is wrong, by its words without their numbers."""
    found = [f"{call}: {words}" for call, outcome in outcomes.items() for words in outcome.wrong]
    return {re.sub(r"[\d.]+(e[+-]?\d+)?", "#", words): words for words in found}


def _smallest(recipe: Any, key: str) -> Any:
    """The recipe without the changes, or words, that are not needed to show the same."""
    changes = recipe.words if isinstance(recipe, Line) else recipe.changes
    for index in reversed(range(len(changes))):
        fewer = recipe.without(index)
        if key in _wrong(judged(fewer)):
            recipe = fewer
    return recipe


class Calls(RuleBasedStateMachine):
    """One network with its data, changed step by step, and handed over after each step."""

    tally: Tally

    @initialize(network=st.sampled_from(sorted(NETWORKS)), seed=_SEEDS)
    def begin(self, network: str, seed: int) -> None:
        self.recipe = Recipe(network, seed)
        self.tally.add(self.recipe)

    @precondition(lambda self: len(self.recipe.changes) < STEPS)
    @rule(name=st.sampled_from(sorted(ODD)))
    def odd(self, name: str) -> None:
        self._becomes(self.recipe.with_change(name))

    @precondition(lambda self: not set(self.recipe.changes) & set(BROKEN))
    @rule(name=st.sampled_from(sorted(BROKEN)))
    def broken(self, name: str) -> None:
        self._becomes(self.recipe.with_change(name))

    @precondition(lambda self: set(self.recipe.changes) & set(BROKEN))
    @rule()
    def mended(self) -> None:
        (index,) = [i for i, name in enumerate(self.recipe.changes) if name in BROKEN]
        self._becomes(self.recipe.without(index))

    @precondition(lambda self: self.recipe.changes)
    @rule(index=st.integers(0, STEPS - 1))
    def undone(self, index: int) -> None:
        self._becomes(self.recipe.without(index % len(self.recipe.changes)))

    def _becomes(self, recipe: Recipe) -> None:
        if self.tally.add(recipe):
            self.recipe = recipe


def _file_recipes() -> st.SearchStrategy[FileRecipe]:
    names = sorted(path.stem for path in PACKAGE_DATA.glob("*.json"))
    changes = st.lists(st.sampled_from(sorted(FILE_CHANGES)), min_size=1, max_size=2, unique=True)
    return st.builds(FileRecipe, st.sampled_from(names), _SEEDS, changes.map(tuple))


_PLACES = ("DIR", "FILE", "FILE/inside", "NONE", "", "/", "a\0b", "x" * 300, "~", "é", "--", "-1")
# What would write files: a valid directory takes minutes.
_NO_DIRECTORIES = ("FILE", "FILE/inside", "a\0b", "x" * 300, "--nope", "--help")
_FUNCTIONS = (
    *(f"fuzzed_{name}:f" for name in MODULES),
    *("math:pi", "math:", ":", ":f", "math", "nope:f", "a:b:c", "../x:f", "a\0b:f", ".:f", " : "),
)
_WORDS = (*_PLACES, *_FUNCTIONS, "vectors", "list", "check", "--help", "--examples", "--json", "0")


def _lines() -> st.SearchStrategy[Line]:
    def words(*choices: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
        return st.tuples(*map(st.sampled_from, choices))

    # No function is found, so that check never runs its minutes of laws.
    numbers = ("0", "-1", "1.5", "x", "", "9" * 30)
    line = st.one_of(
        words(["vectors"], ["list"], _PLACES),
        words(["vectors"], ["write"], _NO_DIRECTORIES),
        words(["check"], _FUNCTIONS),
        words(["check"], _FUNCTIONS, ["--examples"], numbers),
        words(["check"], _FUNCTIONS, ["--json"]),
        st.lists(st.sampled_from(_WORDS), max_size=4).map(tuple),
    )
    return st.builds(Line, line, _file_recipes())


def fuzz(kind: str, tally: Tally, seed: int | None) -> None:
    """Fill a tally with inputs of one kind; with the same ones in each run if seed is None."""
    while not tally.full:
        options = settings(_SETTINGS, derandomize=seed is None, max_examples=_AT_ONCE)
        if kind == "calls":
            machine = type("Machine", (Calls,), {"tally": tally})
            if seed is not None:
                machine = seeded(seed)(machine)
            run_state_machine_as_test(machine, settings=options)
        else:
            _single(_file_recipes() if kind == "files" else _lines(), tally, options, seed)
        if seed is None:
            return  # it would be the same once more
        seed += 1


def _single(
    strategy: st.SearchStrategy[Any], tally: Tally, options: settings, seed: int | None
) -> None:
    @options
    @given(strategy)
    def run(recipe: Any) -> None:
        tally.add(recipe)

    (run if seed is None else seeded(seed)(run))()


def report(tallies: dict[str, Tally]) -> str:
    """How many inputs of each kind, what came of them, and what must not have come."""
    lines = [f"{'call':24} {'outcome':24} {'times':>6}"]
    for tally in tallies.values():
        for (call, kind), times in sorted(tally.kinds.items(), key=lambda item: -item[1]):
            lines.append(f"{call:24} {kind:24} {times:>6}")
    for tally in tallies.values():
        for words, recipe in tally.violations.values():
            lines.append(f"violation: {words}\n    {recipe!r}")
    inputs = ", ".join(f"{len(tally.seen)} {name}" for name, tally in tallies.items())
    violations = sum(len(tally.violations) for tally in tallies.values())
    return "\n".join([*lines, f"inputs: {inputs}; violations: {violations}"])


def run(inputs: int, seed: int) -> dict[str, Tally]:
    """Tallies of all kinds of inputs; what was reached, if interrupted."""
    tallies: dict[str, Tally] = {}
    with tqdm(total=inputs, unit="input", disable=None) as progress:
        try:
            for kind, share in SHARES.items():
                tallies[kind] = Tally(max(1, round(inputs * share)), progress)
                fuzz(kind, tallies[kind], seed)
        except KeyboardInterrupt:
            print("interrupted; what was reached:", flush=True)
    return tallies


def repeated(text: str) -> str:
    """What comes of the recipe that a report printed."""
    recipe = eval(text, {"Recipe": Recipe, "FileRecipe": FileRecipe, "Line": Line})
    outcomes = judged(recipe)
    return "\n".join(
        f"{call}: {outcome.kind} {outcome.message}".rstrip()
        + "".join(f"\n    violation: {words}" for words in outcome.wrong)
        for call, outcome in outcomes.items()
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="at random unless given")
    parser.add_argument("--repeat", metavar="RECIPE", help="one input, as a report printed it")
    options = parser.parse_args(argv)
    if options.inputs < 1:
        parser.error(f"--inputs must be at least 1; got {options.inputs}")
    torch.set_num_threads(1)
    if options.repeat is not None:
        print(repeated(options.repeat))
        return 0
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    tallies = run(options.inputs, seed)
    print(report(tallies))
    return 1 if any(tally.violations for tally in tallies.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())

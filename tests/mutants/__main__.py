"""`make mutants`: plants small lies in the modules that decide, and says which of them no unit test noticed.

Without options it takes a sample of each module, the same for the same seed. ARGS: `--all`, `--sample 20`, `--seed 1`,
`--jobs 2`, and names of modules (`retry storage.proof`), or `promises`: lies about what the README promises, chosen by hand.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mutants.equivalent import EQUIVALENT
from mutants.modules import NOTICED_BY
from mutants.mutations import Mutation, mutations
from mutants.promises import PROMISES
from mutants.running import BrokenTestsError, Fate, Passage, Tree, chosen, load_libraries

ROOT = Path(__file__).resolve().parents[2]
WANTED_SHARE = 0.9


@dataclass(slots=True)
class Tally:
    """How the mutants of one module fared."""

    module: str
    possible: int
    noticed: int = 0
    timed_out: int = 0
    survivors: list[Mutation] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.noticed + len(self.survivors)

    def add(self, mutation: Mutation, fate: Fate) -> None:
        if fate is Fate.SURVIVED:
            self.survivors.append(mutation)
            return
        self.noticed += 1
        self.timed_out += fate is Fate.TIMED_OUT


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    started = time.monotonic()
    load_libraries()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        trees = [Tree(ROOT, Path(place) / str(number)) for number in range(options.jobs)]
        tallies = []
        try:
            for module in options.modules or ["promises", *NOTICED_BY]:
                tally = _try_promises(trees[0]) if module == "promises" else _try_module(module, trees, options)
                tallies.append(tally)
                _print(tally)
        except BrokenTestsError as error:
            print(error)
            return 2
        finally:
            for tree in trees:
                tree.stop()
    tried, noticed = sum(tally.tried for tally in tallies), sum(tally.noticed for tally in tallies)
    share = noticed / tried if tried else 1.0
    possible = sum(tally.possible for tally in tallies)
    print(
        f"{noticed} of {tried} planted faults were noticed: {share:.1%} ({possible} can be planted, {len(EQUIVALENT)} more "
        f"change nothing; {time.monotonic() - started:.0f} s)"
    )
    is_kept = not any(tally.survivors for tally in tallies if tally.module == "promises")
    return 0 if share >= WANTED_SHARE and is_kept else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--all", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each module")
    parser.add_argument("--seed", default="1", help="another seed takes another sample")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    return parser.parse_args(arguments)


def _try_promises(tree: Tree) -> Tally:
    """Break what is promised, one at a time; each has its own test."""
    tests = {f"tests/unit/{promise.test}": Passage(frozenset(), 5.0) for promise in PROMISES}
    as_it_is = PROMISES[0].module
    tree.begin(as_it_is, tree.path(as_it_is).read_bytes(), tests)
    tree.expect_success("the tests of promises")
    tally = Tally("promises", len(PROMISES))
    for promise in PROMISES:
        source = tree.path(promise.module).read_text()
        if source.count(promise.before) != 1:
            raise BrokenTestsError(f"the promise '{promise.name}' is not found in {promise.module}: {promise.before}")
        line = source[: source.index(promise.before)].count("\n") + 1
        changed = source.replace(promise.before, promise.after).encode()
        mutation = Mutation(f"{promise.module}: {promise.name}", line, range(0), changed)
        name = f"tests/unit/{promise.test}"
        tree.begin(promise.module, changed, {name: tests[name]})
        while (fate := tree.fate()) is None:
            time.sleep(0.02)
        tally.add(mutation, fate)
    return tally


def _try_module(module: str, trees: Sequence[Tree], options: argparse.Namespace) -> Tally:
    every = mutations(module, trees[0].path(module).read_bytes())
    possible = [mutation for mutation in every if mutation.name not in EQUIVALENT and mutation.can_be_compiled]
    sample = possible
    if not options.all and options.sample < len(possible):
        sample = random.Random(f"{options.seed} {module}").sample(possible, options.sample)  # noqa: S311
    tally = Tally(module, len(possible))
    for mutation, fate in _fates(module, sample, trees):
        tally.add(mutation, fate)
    return tally


def _fates(module: str, sample: Sequence[Mutation], trees: Sequence[Tree]) -> Iterator[tuple[Mutation, Fate]]:
    passages = trees[0].baseline(module, NOTICED_BY[module])
    waiting, running = list(sample), dict[Tree, Mutation]()
    while waiting or running:
        for tree in trees:
            if tree in running:
                fate = tree.fate()
                if fate is not None:
                    yield running.pop(tree), fate
            elif waiting:
                mutation = waiting.pop()
                if tests := chosen(passages, mutation.statement):
                    tree.begin(module, mutation.source, tests)
                    running[tree] = mutation
                else:
                    yield mutation, Fate.SURVIVED
        time.sleep(0.02)


def _print(tally: Tally) -> None:
    ended = f", {tally.timed_out} by not ending" if tally.timed_out else ""
    print(f"{tally.module}: {tally.noticed} of {tally.tried} noticed{ended} ({tally.possible} possible)", flush=True)
    for mutation in sorted(tally.survivors, key=lambda mutation: mutation.line):
        print(
            f"    survived: src/{_path(mutation.name.partition(':')[0])}:{mutation.line}  {mutation.name}", flush=True
        )


def _path(module: str) -> str:
    return f"frigate_s3_mirror/{module.replace('.', '/')}.py"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

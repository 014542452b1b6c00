"""How good a recipe is, seen on training pictures that were held out: the way to choose one without the test set.

    python benchmarks/recipes.py best                                # a recipe that comes with xpcnn
    python benchmarks/recipes.py a.toml b.toml --seeds 0,1,2         # files of your own, one after the other
    python benchmarks/recipes.py best --held-out 10000 --epochs 5    # a shorter look

A recipe is trained once for each seed, on all training pictures but those that the seed holds out (as many of each
class as its share), and then asked for those. Every seed holds out others, the same for all recipes: the mean over
seeds depends less on which pictures they are, and recipes can be compared seed by seed. The test pictures are not
looked at.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import default_threads, say
from peers import ours
from report import about_this_run, heading, markdown, write_json

from xpcnn import Trainer, XpcnnError
from xpcnn.cli.common import load_run_data
from xpcnn.cli.config import merge, read_config, recipe
from xpcnn.cli.setup import make_network, trainer_arguments
from xpcnn.data.dataset import Dataset
from xpcnn.data.split import stratified_split


@dataclass(frozen=True)
class Outcome:
    """One recipe trained with one seed: wrong of `held_out` pictures, their mean loss, seconds from first to last."""

    name: str
    seed: int
    held_out: int
    wrong: int
    loss: float
    seconds: float
    parameters: int

    @property
    def accuracy(self) -> float:
        return 1.0 - self.wrong / self.held_out


def settings_of(word: str, epochs: int | None = None, threads: int | None = None) -> dict[str, dict[str, Any]]:
    """The configuration of a recipe's file, or of the recipe of that name."""
    tables = read_config(Path(word)) if word.endswith(".toml") else recipe(word)
    return merge(tables, {"train": {"epochs": epochs, "threads": threads}})


def held_out(data: Dataset, count: int, seed: int) -> Dataset:
    """`data` with about `count` of its training pictures in the place of its test pictures."""
    training, chosen = stratified_split(data.t_train, seed, count / len(data.t_train))
    return replace(
        data,
        x_train=data.x_train[training],
        t_train=data.t_train[training],
        x_test=data.x_train[chosen],
        t_test=data.t_train[chosen],
    )


def outcome(name: str, settings: dict[str, dict[str, Any]], data: Dataset, count: int, seed: int) -> Outcome:
    """Trains once. The seconds hold what every epoch of `xpcnn train` holds, evaluation too, but no file or figure."""
    settings = merge(settings, {"model": {"seed": seed}, "train": {"seed": seed}})
    part = held_out(data, count, seed)
    network = make_network(settings, part)
    arrays = (part.x_train, part.t_train, part.x_test, part.t_test)
    trainer = Trainer(network, *arrays, **trainer_arguments(settings), verbose=False)
    start = time.perf_counter()
    row = trainer.train()[-1]
    seconds = time.perf_counter() - start
    wrong = round((1.0 - row["test_acc"]) * len(part.x_test))
    parameters = sum(a.size for a in network.params.values())
    return Outcome(name, seed, len(part.x_test), wrong, row["test_loss"], seconds, parameters)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row a recipe: means over its seeds, the accuracies themselves, and how far they lie apart."""
    lines = []
    for name in dict.fromkeys(one.name for one in outcomes):
        mine = [one for one in outcomes if one.name == name]
        accuracies = [one.accuracy for one in mine]
        spread = statistics.stdev(accuracies) if len(mine) > 1 else None
        lines.append(
            [
                name,
                f"{statistics.mean(accuracies):.3%}",
                "" if spread is None else f"{spread:.3%}",
                f"{statistics.mean(one.loss for one in mine):.5f}",
                ", ".join(f"{accuracy:.2%}" for accuracy in accuracies),
                f"{statistics.median(one.seconds for one in mine):.1f}",
                f"{mine[0].parameters:,}",
            ]
        )
    header = ["recipe", "mean accuracy", "deviation", "mean loss", "by seed", "median s", "parameters"]
    return markdown(header, lines)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s [options] RECIPE..."
    )
    parser.add_argument(
        "recipes", nargs="+", metavar="RECIPE", help="a recipe's name, or a .toml file laid out like it"
    )
    parser.add_argument("--seeds", default="0,1,2", help="with commas between (%(default)s)")
    parser.add_argument("--held-out", type=int, default=5000, help="training pictures to ask for (%(default)s)")
    parser.add_argument("--epochs", type=int, help="instead of the recipes' own")
    parser.add_argument("--threads", type=int, help="of the CPU (the cores that this process may use)")
    parser.add_argument("--data-dir", help="the folder to look for data in first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all outcomes to FILE as well")
    arguments = parser.parse_args(words)
    try:
        seeds = [int(word) for word in arguments.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds takes whole numbers with commas between, such as 0,1,2; got {arguments.seeds!r}")
    outcomes = []
    try:
        chosen = {word: settings_of(word, arguments.epochs, arguments.threads) for word in arguments.recipes}
        for word, settings in chosen.items():
            data = load_run_data(settings, data_dir=arguments.data_dir)
            if not 0 < arguments.held_out < len(data.t_train):
                parser.error(f"--held-out lies between 0 and {len(data.t_train)}, the training pictures")
            for seed in seeds:
                one = outcome(Path(word).stem, settings, data, arguments.held_out, seed)
                outcomes.append(one)
                say(f"{one.name}, seed {seed}: {one.wrong} of {one.held_out} wrong, {one.seconds:.1f} s")
    except XpcnnError as error:
        parser.error(str(error))
    print(table(outcomes) + "\n")
    about = about_this_run(arguments.threads or default_threads(), ours.versions())
    print(heading(about))
    write_json(arguments.json, {**about, "outcomes": [vars(one) for one in outcomes]})


if __name__ == "__main__":
    main()

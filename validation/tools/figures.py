"""The figures of the specification: `python -m validation.tools.figures` writes them to spec/figures, as SVG and PNG.

It takes half a minute. Losses are seeded and reproducible; times are measured on the machine in use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from ..evidence.networks import EXAMPLES, examples, excess, train
from ..evidence.scales import linear_rate, linear_scales
from ..oracles import solver
from ..oracles.mixture import TWO

FOLDER = Path(__file__).parents[2] / "spec" / "figures"
CURVE = tuple(2**k for k in range(3, 11))
TRAINED = (8, 16, 32, 64, 256)
BLUE, RED, GREY = "#2166ac", "#b2182b", "#777777"


def no_solver(iterations: int) -> Figure:
    """Plot the effect of a solver's x_t on the loss and on a trained network, and its cost (TRN-7)."""
    torch.set_num_threads(1)
    made = {steps: solver.by_solver(linear_rate, steps) for steps in CURVE}
    at = solver.places(TWO, linear_scales, solver.by_closed_form(linear_scales))
    best = solver.irreducible_loss(at)
    floors = [abs(solver.irreducible_loss(solver.places(TWO, linear_scales, m)) - best) for m in made.values()]
    biases = [solver.bias(TWO, linear_scales, m) for m in made.values()]
    reached, seconds = {}, {}
    for steps in (0, *TRAINED):
        found = examples(TWO, linear_rate, linear_scales, steps, EXAMPLES, seed=1)
        # The fastest of three, as other programs may use the machine.
        again = [examples(TWO, linear_rate, linear_scales, steps, EXAMPLES, seed=s).seconds for s in (2, 3)]
        seconds[steps] = min(found.seconds, *again)
        reached[steps] = excess(train(found, seed=1, iterations=iterations), at)
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(CURVE, floors, color=GREY, label="least loss there is, off by (exact): slope −1")
    left.loglog(CURVE, biases, color=RED, label="best denoiser's excess loss (exact): slope −2")
    left.loglog(TRAINED, [reached[n] for n in TRAINED], "o", color=RED, label="network trained on the solver's x_t")
    left.axhline(reached[0], color=BLUE, linestyle="--", label="network trained on the closed form's x_t")
    left.set(xlabel="steps N of Euler–Maruyama", ylabel="loss above that of the best denoiser", ylim=(1e-7, 2.0))
    left.legend(fontsize=7, frameon=False, loc="lower left")
    right.loglog(TRAINED, [seconds[n] / seconds[0] for n in TRAINED], "o", color=RED, label="time, measured")
    right.loglog(CURVE, [9 / 16 * n for n in CURVE], color=GREY, label="noise drawn: N t, on average 9N/16")
    right.axhline(1.0, color=BLUE, linestyle="--", label="closed form")
    right.set(xlabel="steps N of Euler–Maruyama", ylabel="cost of x_t, in units of the closed form's")
    right.legend(fontsize=7, frameon=False, loc="upper left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


FIGURES: dict[str, Callable[[int], Figure]] = {"no-solver": no_solver}


def written(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG (with text as text) and PNG, without a date, so that runs are reproducible."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=150)
    return paths


def main(arguments: list[str] | None = None) -> None:
    """Draw all, and say where they are."""
    parser = argparse.ArgumentParser(prog="python -m validation.tools.figures", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to")
    parser.add_argument("--iterations", type=int, default=1500, help="of the trained networks")
    options = parser.parse_args(arguments)
    for name, draw in FIGURES.items():
        for path in written(draw(options.iterations), options.folder, name):
            print(f"{path} ({path.stat().st_size // 1024} kB)")
    print(np.__version__, torch.__version__, mpl.__version__)


if __name__ == "__main__":
    main()

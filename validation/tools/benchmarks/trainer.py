"""Cost of the trainer relative to a minimal training loop: ratios of two loops timed alternately.

    python -m validation.tools.benchmarks.trainer [--rounds N] [--strict]

| column | numerator | denominator | bar |
|---|---|---|---|
| trainer | `Loop.step`, `Monitor.record`, a row of metrics in 100 steps, as `run.train` calls them | `bare` | 1.03 |
| same optimizer | the same | `bare` with the trainer's optimizer, which is fused | 1.03 |

Both train the default U-Net on the default batch of the digits, with AdamW. `bare` is what a script of twenty lines
does: its optimizer is `AdamW(model.parameters(), lr, ...)`, its data is one tensor, its times and noise come of torch's
own generator, x_t is written out, the loss is `mse_loss`, the average one `lerp_` of all parameters. It clips no
gradient, has no schedule of the learning rate, checks nothing and remembers nothing; all that counts against the
trainer.

Each round times both, 5 steps each, in turn first and second, each after a step that is not timed, and gives one ratio;
shown are the median of the rounds and their quartiles, and the trainer's steps per second by the wall. With one thread
the rounds' clock is the CPU's, with more the wall's. `--strict` exits with 1 where the bar is missed.
Needs the extra `train`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from math import cos, pi
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TypeAlias

import torch
from tabulate import tabulate
from torch import Tensor

from refdiff.training import build
from refdiff.training.config import Config, RuntimeConfig
from refdiff.training.data import Examples, load, split
from refdiff.training.distributed import World
from refdiff.training.monitor import Monitor
from refdiff.training.randomness import seeded
from refdiff.training.step import Loop

from .timing import Ratio, asked_for, compare, settle, timed

Step: TypeAlias = Callable[[], Tensor]

BAR = 1.03
THREADS = (2, 1)
STEPS = 5
"""Of a round, for each loop."""
DEFAULT = Config(runtime=RuntimeConfig(device="cpu"))


def trainer(how: Config, data: Examples, out: Path) -> Step:
    """Return one step of refdiff's loop, and of what watches it; it returns the losses of its examples."""
    loop = Loop.build(how, data, world=World(device=torch.device(how.runtime.device)))
    state, monitor = loop.state, Monitor(out, loop.world, loop.state.times, how.monitor.buckets, None, 1.0)

    def step() -> Tensor:
        seen = loop.step()
        monitor.record(seen)
        if state.step % how.monitor.log_every == 0:
            monitor.write(monitor.summary(state.step, state.optimizer.param_groups[0]["lr"]))
        return seen.loss

    return step


def bare(how: Config, data: Examples, *, same_optimizer: bool = False) -> Step:
    """Return one step of a loop with nothing in it but the algorithm: v of a cosine schedule, uniform times."""
    model, averaged = (_network(how, data) for _ in range(2))
    weights: list[Tensor] = list(model.parameters())
    averages: list[Tensor] = list(averaged.parameters())
    lr, betas, weight_decay = how.optimizer.lr, how.optimizer.betas, how.optimizer.weight_decay
    plain = torch.optim.AdamW(weights, lr=lr, betas=betas, weight_decay=weight_decay)
    optimizer = build.optimizer(how.optimizer, model) if same_optimizer else plain
    examples, (low, high) = data.take(slice(None)), (how.times.t_min, how.times.t_max)
    decay, s = how.ema.decay, how.process.s

    def step() -> Tensor:
        x_0 = examples[torch.randint(len(examples), (how.batch.size,))]
        t, eps = low + (high - low) * torch.rand(how.batch.size), torch.randn_like(x_0)
        alpha = (torch.cos((t + s) / (1.0 + s) * (pi / 2.0)) / cos(s / (1.0 + s) * (pi / 2.0)))[:, None, None, None]
        sigma = torch.sqrt(1.0 - alpha**2)
        optimizer.zero_grad(set_to_none=True)
        predicted = model(alpha * x_0 + sigma * eps, t)
        loss = torch.nn.functional.mse_loss(predicted, alpha * eps - sigma * x_0)
        torch.autograd.backward(loss)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1.0 - decay)
        return loss.detach()

    return step


def _network(how: Config, data: Examples) -> torch.nn.Module:
    """Return the network of the config, with the same first weights each time."""
    with seeded(how.seed, "weights"):
        return build.network(data.event, build.process(how.process), how.network, how.mlp)


def measure(how: Config, *, rounds: int, threads: int) -> tuple[Ratio, Ratio, float]:
    """Return the two ratios, and the trainer's steps per second, with so many threads of torch."""
    data, _ = split(load(how.data, how.preprocess), how.preprocess.held_out, how.seed)
    clock = process_time if threads == 1 else perf_counter
    settle()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with TemporaryDirectory() as out:
            step = trainer(how, data, Path(out))
            plain, same = (
                compare(step, bare(how, data, same_optimizer=same), rounds=rounds, calls=STEPS, clock=clock)
                for same in (False, True)
            )
            return plain, same, STEPS / median(timed(step, STEPS, perf_counter) for _ in range(5))
    finally:
        torch.set_num_threads(before)


def main(arguments: Sequence[str] | None = None, how: Config = DEFAULT, threads: Sequence[int] = THREADS) -> int:
    """Print the table, and what it says of the bar; return the exit code."""
    asked = asked_for("trainer", __doc__, arguments)
    rows, verdicts, missed = [], [], False
    for number in threads:
        ratio, same, rate = measure(how, rounds=asked.rounds, threads=number)
        cells = [f"{one.median:.3f} ({one.low:.3f} to {one.high:.3f})" for one in (ratio, same)]
        rows.append((number, *cells, f"{rate:.3g}"))
        for name, one in (("trainer", ratio), ("same optimizer", same)):
            met = one.median <= BAR
            missed |= not met
            verdicts.append(f"{name}, threads {number}: {one.median:.3f}, bar {BAR}: {'met' if met else 'MISSED'}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads by default; median ratio (quartiles)")
    heads = ("threads", "trainer", "same optimizer", "steps per second")
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))
    print(*verdicts, sep="\n")
    return int(asked.strict and missed)


if __name__ == "__main__":
    sys.exit(main())

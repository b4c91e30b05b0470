"""State of a run: everything that determines its next steps; no random generator is part of it (TRN-9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from refdiff.ema import average_weights
from refdiff.positions import SecondMoment
from refdiff.times import TimeSampler
from refdiff.training import build, fitting
from refdiff.training.config import EMAConfig, OptimizerConfig
from refdiff.training.errors import CheckpointError, TrainingError


@final
@dataclass(slots=True, eq=False)
class State:
    """Content of a checkpoint."""

    model: nn.Module
    """Network being trained."""
    ema: AveragedModel
    """Moving average of its weights, used for sampling."""
    optimizer: Optimizer
    """Optimizer, with its moment estimates."""
    scheduler: LRScheduler
    """Learning rate schedule."""
    times: TimeSampler
    """Distribution of training times; an adaptive sampler stores losses."""
    step: int = 0
    """Number of optimizer steps done."""
    early_stopping: dict[str, float] = field(default_factory=lambda: {"best": float("inf"), "at": 0, "since": 0})
    """Best Frechet distance, its step, and number of evaluations since."""

    @staticmethod
    def new(model: nn.Module, times: TimeSampler, *, optimizer: OptimizerConfig, ema: EMAConfig, steps: int) -> State:
        """Return the state before the first of `steps` steps."""
        stepped = build.optimizer(optimizer, model)
        return State(
            model=model,
            ema=average_weights(model, decay=ema.decay, warm_up=ema.warmup).eval(),
            optimizer=stepped,
            scheduler=build.scheduler(optimizer, steps, stepped),
            times=times,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""
        sampler = self.times.sampler
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "sampler": sampler.state_dict() if isinstance(sampler, SecondMoment) else {},
            "early_stopping": dict(self.early_stopping),
        }

    def check(self, state: Mapping[str, Any], *, steps: int) -> None:
        """Raise CheckpointError unless a state fits this network and optimizer, at a step of a run of `steps` steps."""
        own = self.state_dict()
        fitting.check_keys(state, list(own), "the state")
        step = fitting.check_step(state["step"], steps)
        fitting.check_weights(state["model"], own["model"], "model")
        fitting.check_average(state["ema"], own["ema"], step)
        fitting.check_optimizer(state["optimizer"], self.optimizer, step)
        rates = [group["lr"] for group in state["optimizer"]["param_groups"]]
        fitting.check_scheduler(state["scheduler"], own["scheduler"], rates, step)
        fitting.check_sampler(state["sampler"], self.times.sampler)
        fitting.check_early_stopping(state["early_stopping"], step)

    def load_state_dict(self, state: Mapping[str, Any], *, steps: int) -> None:
        """Load a state, of which all is checked before anything is changed. Raises CheckpointError as `check`."""
        self.check(state, steps=steps)
        sampler = self.times.sampler
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            if isinstance(sampler, SecondMoment):
                sampler.load_state_dict(state["sampler"])
            self.step, self.early_stopping = state["step"], dict(state["early_stopping"])
        except (
            KeyError,
            ValueError,
            TypeError,
            RuntimeError,
            AttributeError,
        ) as error:  # of a module that has own rules
            said = " ".join(str(error).split())
            raise CheckpointError(
                f"expected the state of this network and optimizer, got another one: {said} (TRN-11)"
            ) from None

    def check_finite(self) -> None:
        """Raise TrainingError if the weights or their average are not finite."""
        if not (fitting.is_finite(self.model) and fitting.is_finite(self.ema)):
            raise TrainingError(f"expected finite weights, got others at step {self.step}; none are saved (TRN-12)")

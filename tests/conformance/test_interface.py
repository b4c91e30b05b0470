"""An invalid claim is refused with a message of one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from refdiff.conformance.averaging import Power, Ratio
from refdiff.conformance.interface import Chain, Claim, Cosine, Draws, Grid, Linear, NoProcess, Own, Sampler
from refdiff.conformance.loading import members
from refdiff.conformance.step import Step
from refdiff.errors import ConfigError

RIGHT: dict[str, Any] = {
    "name": "n",
    "version": "1",
    "dtype": "float32",
    "processes": (Linear, Cosine(s=0.008)),
    "capabilities": frozenset({"perturb"}),
}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"dtype": "float8"}, "dtype as one of float16, bfloat16, float32, float64, got 'float8'"),
        ({"capabilities": frozenset({"perturbs"})}, "got perturbs"),
        ({"processes": ()}, "at least one process"),
        ({"processes": ("linear",)}, "processes of type Linear, Cosine, Chain, Own or NoProcess, got 'linear'"),
        ({"processes": (Own,)}, "processes of type Linear, Cosine, Chain, Own or NoProcess"),
        ({"reduction": "sum"}, "reduction as one of none, example_mean, batch_mean, all_mean, got 'sum'"),
        ({"weights": ("uniform", "truncated")}, "expected weights among uniform, inverse_snr, min_snr, likelihood"),
        ({"weights": ()}, "at least one weight"),
        ({"loss_factor": 0.0}, "loss_factor in (0, inf), got 0.0"),
        ({"loss_factor": float("nan")}, "loss_factor in (0, inf), got nan"),
        ({"processes": (NoProcess(),)}, "no capability but ema, guide, times without a process, got perturb"),
        ({"warm_up": "linear"}, "expected warm_up as Ratio, Power, Equal or 'declared', got 'linear'"),
        ({"t_min": 0.5, "t_max": 0.5}, "expected 0 <= t_min < t_max <= 1, got t_min=0.5, t_max=0.5"),
        ({"t_max": float("nan")}, "expected 0 <= t_min < t_max <= 1"),
        ({"events": ()}, "expected shapes of events"),
        ({"events": ((3, 0),)}, "expected shapes of events"),
        ({"predictions": ()}, "expected predictions as at least one, each once, or None, got ()"),
        ({"predictions": ("v", "v")}, "expected predictions as at least one, each once"),
        ({"predictions": "eps"}, "expected predictions among eps, x_0, v, score, got 'e'"),
        ({"predictions": ("x0",)}, "expected predictions among eps, x_0, v, score, got 'x0' (CON-1)"),
        ({"conversions": ()}, "expected conversions as at least one, each once, or None, got ()"),
        ({"conversions": (("v", "eps"), ["v", "eps"])}, "expected conversions as at least one, each once"),
        ({"conversions": (("v", "v"),)}, "expected conversions as pairs of two of eps, x_0, v, score, got ('v', 'v')"),
        ({"conversions": ("v",)}, "expected conversions as pairs of two of eps, x_0, v, score, got 'v' (CON-1)"),
        ({"draws": "uniform"}, "expected draws to be a Draws"),
        ({"grid": 10}, "expected grid to be a Grid, got 10"),
        ({"samplers": ("heun",)}, "expected samplers to be of type Sampler, got 'heun'"),
        ({"samplers": (Sampler(name="a"), Sampler(name="a"))}, "expected samplers of different names, got a, a"),
        ({"capabilities": frozenset({"sample"})}, "expected at least one of samplers"),
        ({"refusals": ("ValueError",)}, "expected refusals to be exception types, got 'ValueError'"),
    ],
)
def test_claim(wrong: dict[str, Any], says: str) -> None:
    """CON-1: what a claim may say."""
    with pytest.raises(ConfigError) as caught:
        Claim(**{**RIGHT, **wrong})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"t_min": 1.0}, {"t_max": 2.0}, {"t_min": -0.1}, {"density": "normal"}, {"weights": "some"}]
)
def test_draws(wrong: dict[str, Any]) -> None:
    """CON-1: how a target may draw its times."""
    with pytest.raises(ConfigError, match=r"expected .* \(CON-1\)"):
        Draws(**wrong)


@pytest.mark.parametrize("wrong", [{"t_min": 1.0}, {"t_max": 2.0}, {"t_min": 0.5, "t_max": 0.5}])
def test_grid(wrong: dict[str, Any]) -> None:
    """CON-1: the range of a grid."""
    with pytest.raises(ConfigError, match=r"expected 0 <= t_min < t_max <= 1, got .* \(CON-1\)"):
        Grid(**wrong)


@pytest.mark.parametrize("last", [-1, 0.5, True])
def test_end_of_a_grid(last: Any) -> None:
    """CON-1: the last index of a grid."""
    with pytest.raises(ConfigError, match=r"expected last as a whole number from 0, got .* \(CON-1\)"):
        Grid(last=last)


@pytest.mark.parametrize(
    "wrong",
    [{"name": " "}, {"prediction": "noise"}, {"order": 0}, {"order": 2, "stochastic": True}, {"times": "some"}],
)
def test_sampler(wrong: dict[str, Any]) -> None:
    """CON-1: what a claim may say of a sampler."""
    with pytest.raises(ConfigError, match=r"expected .* \(CON-1\)"):
        Sampler(**{"name": "a", **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ratio(offset=0.5),
        lambda: Power(inv_gamma=0.0),
        lambda: Power(power=float("inf")),
        lambda: Power(least=1.0),
        lambda: Power(after=-1),
    ],
)
def test_warm_ups(wrong: Callable[[], object]) -> None:
    """TRN-1: the numbers of a rule of decays are in its range."""
    with pytest.raises(ConfigError, match=r"expected .* \(TRN-1\)"):
        wrong()


def test_no_process_is_claimed_by_its_type_too() -> None:
    """There is one such process, which a claim may name beside others."""
    claim = Claim(**{**RIGHT, "processes": (NoProcess, Linear)})
    assert claim.processes == (NoProcess(), Linear)
    assert members(claim, 0)[0].expression == "NoProcess()"


@pytest.mark.parametrize("floor", [-0.1, 1.0, float("nan")])
def test_floor_of_sigma(floor: float) -> None:
    """CON-1: the noise at t = 0 of a process of the library's own is a standard deviation below 1."""
    with pytest.raises(ConfigError, match="expected 0 <= sigma_min < 1"):
        Own(label="mine", sigma_min=floor)


def test_members_of_types_are_drawn_and_instances_kept() -> None:
    """Of a type the suite draws, by the seed; an instance is judged as claimed, and once."""
    claim = Claim(**{**RIGHT, "processes": (Linear, Linear(beta_min=0.1, beta_max=20.0), Chain, Own(label="mine"))})
    first, again, other = (members(claim, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len({member.process for member in first}) == len(first)
    assert Own(label="mine") in {member.process for member in first}
    for member in first:
        names = {"Linear": Linear, "Chain": Chain, "Own": Own, "np": __import__("numpy")}
        assert eval(member.expression, names) == member.process  # noqa: S307  # the text under test


def test_a_long_chain_is_shown_by_its_ends() -> None:
    """A report prints the process."""
    assert repr(Chain(betas=(0.1,) * 1000)) == "Chain(N=1000, betas=0.1..0.1)"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"contract": 3}, "expected contract as 1 or 2, got 3"),
        ({"contract": True}, "expected contract as 1 or 2, got True"),
        ({"contract": 2, "steps": ()}, "expected steps as different objects of type Step"),
        ({"contract": 2, "steps": ("ddpm",)}, "expected steps as different objects of type Step"),
        ({"contract": 2, "steps": (Step(kind="ddpm"), Step(kind="ddpm"))}, "expected steps as different objects"),
        ({"steps": (Step(kind="ddpm"),)}, "expected contract=2 in a claim that lists steps, got contract=1"),
    ],
)
def test_contract_and_steps(wrong: dict[str, Any], says: str) -> None:
    """CON-1: steps are listed by claims of version 2, each once."""
    with pytest.raises(ConfigError) as caught:
        Claim(**{**RIGHT, **wrong})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "rk4"}, "expected kind of a step as one of em, ddpm, ddim, ode, got 'rk4'"),
        ({"kind": "em", "prediction": "u"}, "expected prediction of a step as one of eps, x_0, v, score, got 'u'"),
        ({"kind": "ddpm", "variance": "learned"}, "expected variance of a step as one of posterior, beta"),
        ({"kind": "ddim", "variance": "beta"}, "for ddpm only, got it for ddim"),
        ({"kind": "ddpm", "eta": 0.5}, "expected an eta above 0 for ddim only, got it for ddpm"),
        ({"kind": "ddim", "eta": 1.5}, "expected eta of a step in [0, 1], got 1.5"),
        ({"kind": "ddim", "eta": float("nan")}, "expected eta of a step in [0, 1], got nan"),
    ],
)
def test_step(wrong: dict[str, Any], says: str) -> None:
    """CON-1: a step has the options of its rule only."""
    with pytest.raises(ConfigError) as caught:
        Step(**wrong)
    assert says in str(caught.value)


@pytest.mark.parametrize("betas", [(), (1.0,), (0.5, 1.0, 0.5), (0.5, 1.1), (0.0, 0.5), (0.5, float("nan"))])
def test_betas(betas: tuple[float, ...]) -> None:
    """DIS-1: variances of steps are in (0, 1), and the last of several may be 1."""
    assert Chain(betas=(0.5, 1.0)).last_signal == 1
    assert Chain(betas=(0.5, 0.5)).last_signal == 2
    with pytest.raises(ConfigError, match=r"expected at least one beta, all in \(0, 1\), but the last of several"):
        Chain(betas=betas)


def test_a_chain_that_ends_in_noise_is_drawn_for_version_2() -> None:
    """A claim of version 1 that names the type Chain is asked for none; one of version 2 is."""
    for contract, count in ((1, 0), (2, 1)):
        claim = Claim(**{**RIGHT, "processes": (Chain,), "contract": contract})
        drawn = [member.process for member in members(claim, 0)]
        assert sum(isinstance(p, Chain) and p.betas[-1] == 1.0 for p in drawn) == count

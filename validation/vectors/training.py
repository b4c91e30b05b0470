"""Vectors of SDEs, weights, losses and steps: values from Arb, tolerances from the clauses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, get_args

import flint
import numpy as np

from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Chain, Parameterization, Rule

from ..expected.losses import Batch, Known, losses
from ..expected.losses import weight as weight_of
from ..expected.posteriors import tolerances_at
from ..expected.steps import Inputs, ancestral, step
from ..expected.tiers import delta, exact, must_scales, of_variance
from ..oracles import balls
from .coefficients import DDPM, DEFAULTS, PAIRS, SHORT, STRIDES, TIMES, at, flags_of, slug
from .model import Bounds, Named, Vector, hexed, tolerances


def sdes() -> Iterator[Vector]:
    """Yield the vectors of drift, diffusion, reverse drift and flow."""
    x, score = 1.25, -0.75
    for named in DEFAULTS:
        for label in ("start", "early", "half", "late"):
            t = TIMES[label]
            beta = named.scales(t).beta
            assert beta is not None
            cases = {
                "drift": ("SDE-1", -beta / 2 * flint.arb(x), 0.5 * abs(x)),
                "reverse_drift": ("SDE-6", -beta * (flint.arb(x) / 2 + flint.arb(score)), 0.5 * abs(x) + abs(score)),
                "flow": ("SDE-7", -beta / 2 * (flint.arb(x) + flint.arb(score)), 0.5 * (abs(x) + abs(score))),
                "diffusion": ("SDE-2", beta.sqrt(), 0.0),
            }
            for call, (clause, value, size) in cases.items():
                given = {"t": t} if call == "diffusion" else {"x": x, "t": t}
                if call in ("reverse_drift", "flow"):
                    given["score"] = score
                inputs = hexed(**given)

                yield Vector(
                    id=f"{clause}/{call.replace('_', '-')}-{slug(named.name)}-{label}",
                    call=call,
                    process=named,
                    inputs=inputs,
                    output=balls.decimal(value),
                    tolerance=tolerances(inputs, partial(_by_beta, named, t, size)),
                    flags=flags_of(t, call) + (("SignOfScore",) if "score" in given else ()),
                )


def _by_beta(named: Named, t: float, size: float, fmt: Format) -> Bounds:
    """Return the MUST tolerance of beta times a number of magnitude `size`, or for size 0 of sqrt(beta)."""
    rate = float(exact(named.process, "beta", at(t)).value[0])
    error = float(delta(named.process, "beta", at(t), fmt)[0])
    if size == 0.0:
        return float(of_variance(np.array([rate**0.5]), np.array([error + 4.0 * fmt.u * rate]))[0]), None
    return size * error + 6.0 * fmt.u * size * rate + fmt.smallest, None


def weights() -> Iterator[Vector]:
    """Yield the vectors of the table of loss weights."""
    clauses = {"inverse_snr": "LOS-7", "min_snr": "LOS-8", "likelihood": "LOS-10"}
    for weight, clause in clauses.items():
        for prediction in get_args(Parameterization):
            for named in DEFAULTS:
                labels = (
                    ("small", "half", "late", "start", "end") if weight != "likelihood" else ("small", "half", "late")
                )
                for label in labels:
                    yield _weight(named, weight, clause, prediction, label)


def _weight(named: Named, weight: str, clause: str, prediction: str, label: str) -> Vector:
    t = TIMES[label]
    inputs = hexed(t=t) | {"weight": weight, "prediction": prediction}

    def tiers(fmt: Format) -> Bounds:
        beta, beta_error = np.zeros(1), np.zeros(1)
        if weight == "likelihood":
            beta, beta_error = exact(named.process, "beta", at(t)).value, delta(named.process, "beta", at(t), fmt)
        known = Known(must_scales(named.process, at(t), fmt), beta, beta_error)
        found = weight_of((prediction, weight), known, fmt)  # type: ignore[arg-type]  # both are names of the contract
        inside = found.domain[0] and found.value[0] <= fmt.largest
        return (float(found.tolerance[0]) if inside else np.inf), None

    value = balls.weight(weight, prediction, named.scales(t))
    end = ("LOS-9",) if t in (0.0, 1.0) else (clause,)
    flags = flags_of(t, weight) + (("UnboundedWeight",) if value == float("inf") else ())
    return Vector(
        id=f"{end[0]}/{weight.replace('_', '-')}-{prediction.replace('_', '-')}-{slug(named.name)}-{label}",
        call="weight",
        process=named,
        inputs=inputs,
        output=balls.decimal(value),
        tolerance=tolerances(inputs, tiers),
        flags=flags,
    )


def steps() -> Iterator[Vector]:
    """Yield the vectors of one step of each sampler."""
    clauses: Mapping[Rule, str] = {"em": "SMP-1", "ddpm": "SMP-2", "ddim": "SMP-3", "ode": "SMP-4"}
    x, eps_hat, noise = 0.875, -0.5, 1.25
    for rule, clause in clauses.items():
        for named in (*DEFAULTS, DDPM) if rule in ("ddpm", "ddim") else DEFAULTS:
            pairs: Mapping[str, tuple[float, float]] = STRIDES if named is DDPM else PAIRS
            for label, (s, t) in pairs.items():
                if label == "whole":
                    continue
                names = ("k_s", "k_t") if named is DDPM else ("s", "t")
                times = dict(zip(names, (s, t), strict=True))
                inputs = hexed(x_t=x, eps_hat=eps_hat, noise=noise, **times) | {"rule": rule}
                q_t, q_s = named.scales(t), named.scales(s)
                value = balls.step(rule, q_t, q_s, flint.arb(t - s), *map(flint.arb, (x, eps_hat, noise)))
                last = s == 0 and rule in ("ddpm", "ddim")
                yield Vector(
                    id=f"{'SMP-6' if last else clause}/{rule}-{slug(named.name)}-{label}",
                    call="step",
                    process=named,
                    inputs=inputs,
                    output=balls.decimal(value),
                    tolerance=tolerances(
                        inputs,
                        partial(_step, named, rule, s, t, (x, eps_hat, noise)),
                    ),
                    flags=("StridedStep",) if t - s != 1 else (),
                )


def _step(named: Named, rule: Rule, s: float, t: float, given: tuple[float, float, float], fmt: Format) -> Bounds:
    """Return the MUST tolerance of a step; given: x_t, eps_hat and the noise."""
    x, eps_hat, noise = (fmt.rounded(np.array([[y]])) for y in given)
    inputs = Inputs.of(x, eps_hat, noise, at(s), at(t))
    if rule == "ddpm":
        bounds = tolerances_at(named.process, at(s), at(t), fmt)
        silent = 0.0 if s == 0 else None
        found = ancestral(inputs, named.process, at(s), at(t), bounds, fmt, silent=silent)
    else:
        found = step(rule, inputs, named.process, at(s), at(t), fmt, general=False)
    return float(found.tolerance[0, 0]) if found.domain[0, 0] else np.inf, None


def losses_of_one() -> Iterator[Vector]:
    """Yield the vectors of the loss of one example with one feature."""
    x_0, eps, predicted = 0.75, -1.25, 0.5
    for prediction in get_args(Parameterization):
        for weight in ("uniform", "min_snr"):
            for named, label, t in (
                *((n, k, TIMES[k]) for n in DEFAULTS for k in ("small", "half", "late")),
                (SHORT, "k-3", 3),
            ):
                q = named.scales(t)
                targets = {"eps": flint.arb(eps), "x_0": flint.arb(x_0), "v": q.alpha * eps - q.sigma * x_0}
                y = targets[prediction] if prediction in targets else -flint.arb(eps) / q.sigma
                key = "k" if isinstance(named.process, Chain) else "t"
                inputs = hexed(x_0=x_0, eps=eps, predicted=predicted, **{key: t})
                yield Vector(
                    id=f"LOS-1/{weight.replace('_', '-')}-{prediction.replace('_', '-')}-{slug(named.name)}-{label}",
                    call="loss",
                    process=named,
                    inputs=inputs | {"prediction": prediction, "weight": weight},
                    output=balls.decimal(balls.weight(weight, prediction, q) * (predicted - y) ** 2),
                    tolerance=tolerances(inputs, partial(_loss, named, (prediction, weight), t, (predicted, x_0, eps))),
                    flags=("SignOfScore",) if prediction == "score" else (),
                )


def _loss(named: Named, kind: Any, t: float, given: tuple[float, float, float], fmt: Format) -> Bounds:
    """Return the MUST tolerance of a loss; given: the prediction, x_0 and eps."""
    predicted, x_0, eps = (fmt.rounded(np.array([[y]])) for y in given)
    known = Known(must_scales(named.process, at(t), fmt), np.zeros(1), np.zeros(1))
    found = losses(kind, Batch(predicted, x_0, eps, at(t)), known, fmt)
    return float(found.tolerance[0]) if found.domain[0] else np.inf, None

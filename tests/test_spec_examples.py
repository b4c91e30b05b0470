"""Numbers of the specification: worked examples, computed without refdiff and with it, and the table of defaults."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from refdiff.chain import DiscreteChain
from refdiff.conformance.clauses import spec_folder
from refdiff.ema import average_weights
from refdiff.loss import Objective
from refdiff.marginal import posterior
from refdiff.nn.unet import Architecture, UNet
from refdiff.parameterization import Parameterization
from refdiff.positions import SecondMoment
from refdiff.schedule import CosineSchedule, LinearSchedule
from refdiff.weighting import MinSNR

_BLOCK = re.compile(r"^```pycon\n(.*?)^```", re.S | re.M)
CHAPTERS = sorted(spec_folder().glob("[0-9][0-9]-*.md"))


def find_mistakes(text: str) -> list[str]:
    """Return the examples of a text that print something else than it shows. Its blocks share their names."""
    shown = "".join(_BLOCK.findall(text))
    test = doctest.DocTestParser().get_doctest(shown, {}, "example", None, 0)
    mistakes: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=mistakes.append)
    return mistakes


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_numbers_are_computed(chapter: Path) -> None:
    """Each chapter has one section with an example, whose numbers are those that its lines compute."""
    text = chapter.read_text(encoding="utf-8")
    _, example = re.split(r"^## Worked example$", text, flags=re.M)
    assert _BLOCK.search(example)
    assert "refdiff" not in "".join(_BLOCK.findall(text))
    assert not find_mistakes(text)


def test_wrong_numbers_are_found() -> None:
    """A wrong number is found, and so is a line that raises."""
    assert not find_mistakes("```pycon\n>>> 1 + 1\n2\n```\n")
    assert find_mistakes("```pycon\n>>> 1 + 1\n3\n```\n")
    assert find_mistakes("```pycon\n>>> x = 1\n```\n\n```pycon\n>>> y\n1\n```\n")


def name_values(chapter: str) -> dict[str, Any]:
    """Return what the names of a chapter's example stand for after its last line."""
    (path,) = (path for path in CHAPTERS if path.name.startswith(chapter))
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for example in doctest.DocTestParser().get_examples("".join(_BLOCK.findall(path.read_text(encoding="utf-8")))):
            exec(example.source, names)  # noqa: S102 - the text is the repository's own
    return names


def test_defaults_agree() -> None:
    """Chapter 0: the table of defaults has those of the code."""
    text = CHAPTERS[0].read_text(encoding="utf-8").partition("## Defaults")[2].partition("##")[0]
    found = re.findall(r"^\| [^|]* \| ([0-9., ]+) \|", text, re.M)
    linear, sampler = LinearSchedule(), SecondMoment(cells=1)
    scaled, cosine = DiscreteChain.scaled_linear(1000).betas, DiscreteChain.cosine(1000).betas
    expected = [
        (linear.beta_min, linear.beta_max),
        (scaled[0] * 1000, scaled[-1] * 1000),
        (CosineSchedule().s,),
        (cosine[-1],),
        (MinSNR().gamma,),
        (sampler.history, sampler.uniform),
        (UNet(1, Architecture(width=8)).embed.scale,),
        (signature(average_weights).parameters["decay"].default,),
    ]
    assert [tuple(map(float, row.split(", "))) for row in found] == [pytest.approx(row) for row in expected]


def at(*times: float) -> Tensor:
    """Return times in float64."""
    return torch.tensor(times, dtype=torch.float64)


def test_schedules_agree() -> None:
    """Chapter 1: alpha_bar at t = 0.5 of both schedules."""
    names = name_values("01")
    assert float(LinearSchedule().alpha_bar(at(0.5))) == pytest.approx(names["alpha_bar"], rel=1e-14)
    assert float(CosineSchedule().alpha_bar(at(0.5))) == pytest.approx(names["cosine"], rel=1e-14)


def test_posterior_agrees() -> None:
    """Chapter 2: the posterior from t = 0.5 to s = 0.25."""
    names, q = name_values("02"), posterior(LinearSchedule(), t=at(0.5), s=at(0.25))
    found = [float(q.on_x_0), float(q.on_x_t), float(q.variance)]
    assert found == pytest.approx([names["A"], names["B"], names["V"]], rel=1e-13)


@pytest.mark.parametrize("prediction", ["eps", "x_0"])
def test_losses_agree(prediction: Parameterization) -> None:
    """Chapter 5: the loss of each prediction."""
    names, objective = name_values("05"), Objective(process=LinearSchedule(), prediction=prediction)
    loss = objective(lambda x, _: torch.full_like(x, names[f"{prediction}_hat"]), at(1.0), at(0.5), at(0.5))
    assert float(loss) == pytest.approx((names[f"{prediction}_hat"] - names[prediction]) ** 2)


def test_resampler_and_chain_agree() -> None:
    """Chapters 6 and 7: the masses of the cells, and alpha_bar of the chain at k = 2."""
    sampler = SecondMoment(cells=2, history=2)
    sampler.update(at(0.1, 0.2, 0.7, 0.8), at(3.0, 4.0, 1.0, 1.0))
    assert sampler.masses.tolist() == pytest.approx(name_values("06")["masses"], rel=1e-14)
    chain = DiscreteChain.linear(1000)
    assert float(chain.alpha_bar(torch.tensor([2]))) == pytest.approx(name_values("07")["bars"][2], rel=1e-14)

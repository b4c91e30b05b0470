"""Known failures by clause and process: what they excuse, and what a first run writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from refdiff.conformance.known import KnownFailure, listing, read, write
from refdiff.conformance.outcome import Outcome, Result
from refdiff.conformance.report import Report, assemble
from refdiff.errors import ConfigError
from tests.conformance.test_report import MUST, SHOULD, TARGET

LINEAR, STEEP, COSINE = "Linear(beta_min=0.1, beta_max=20.0)", "Linear(beta_min=0.1, beta_max=40.0)", "Cosine(s=0.008)"


def made(failed: list[str], passed: list[str], known: KnownFailure | None = None, reason: str = "why") -> Report:
    """Return the report on a clause that fails on some processes and passes on others."""
    results = [Result(process=process, status="fail", failures=(reason,)) for process in failed]
    results += [Result(process=process, status="pass") for process in passed]
    outcomes = [Outcome(clause="ABC-1", check="c", status="fail", reason=reason, results=tuple(results))]
    if not failed:
        outcomes = [Outcome(clause="ABC-1", check="c", status="pass", results=tuple(results))]
    outcomes.append(Outcome(clause="ABC-2", check="c", status="pass"))
    return assemble([MUST, SHOULD], outcomes, target=TARGET, known={"ABC-1": known} if known else {})


def on(*processes: str) -> KnownFailure:
    """Return a failure that is known on some processes."""
    return KnownFailure(reason="r", link="l", processes=processes)


@pytest.mark.parametrize("known", [on("Linear"), on(LINEAR), on(LINEAR, STEEP), on()])
def test_failure_on_a_listed_process_is_known(known: KnownFailure) -> None:
    """A process is listed by its kind, or as the report prints it; without a list any failure is known."""
    assert made([LINEAR], [COSINE], known).verdict == "conforming-with-known-failures"


@pytest.mark.parametrize("known", [on("Linear"), on(LINEAR, STEEP)])
def test_failure_on_another_process_fails(known: KnownFailure) -> None:
    """A clause that also fails where it is not known to fails the run, and its reason has the list."""
    found = made([LINEAR, COSINE], [], known)
    assert found.verdict == "non-conforming"
    assert found.rows[0].reason.startswith(f"known on {', '.join(known.processes)} only: ")


def test_listed_process_that_passes_is_an_error() -> None:
    """A process on which the clause passes must be taken off the list."""
    found = made([LINEAR], [COSINE], on("Linear", "Cosine"))
    assert found.verdict == "non-conforming"
    assert found.errors == ("ABC-1 is listed as a known failure on Cosine, and passes there: take Cosine off its list",)
    assert made([], [LINEAR], on("Linear")).verdict == "non-conforming"


@pytest.mark.parametrize(
    ("failed", "passed", "names"),
    [
        ([LINEAR, STEEP], [COSINE], '["Linear"]'),
        ([LINEAR], [STEEP, COSINE], f'["{LINEAR}"]'),
        ([LINEAR, COSINE], [STEEP], f'["{LINEAR}", "Cosine"]'),
    ],
)
def test_first_run_lists_kinds_and_processes(failed: list[str], passed: list[str], names: str) -> None:
    """A kind is listed if the clause fails on all of its processes, single processes if not."""
    assert f"processes = {names}" in listing(made(failed, passed))


@pytest.mark.parametrize(
    "reason", ["why", 'a "quoted" \\ line', "control \x1b\x7f\n[ABC-2]", "\U0001f600 é", "half \ud83d"]
)
def test_written_list_excuses_what_it_was_written_from(tmp_path: Path, reason: str) -> None:
    """Whatever the reason contains, the file is read back, and excuses exactly the report that it came from."""
    path = tmp_path / "known.toml"
    write(made([LINEAR], [COSINE], reason=reason), path)
    known = read(path, ["ABC-1", "ABC-2"])
    assert set(known) == {"ABC-1"}
    assert made([LINEAR], [COSINE], known["ABC-1"], reason).verdict == "conforming-with-known-failures"
    assert made([LINEAR, COSINE], [], known["ABC-1"], reason).verdict == "non-conforming"


def test_list_is_never_overwritten_nor_written_through_a_link(tmp_path: Path) -> None:
    """A file or a link that is there is left alone."""
    (tmp_path / "known.toml").write_text("mine")
    (tmp_path / "link.toml").symlink_to(tmp_path / "elsewhere.toml")
    for name in ("known.toml", "link.toml"):
        with pytest.raises(ConfigError, match="expected --refdiff-write-known-failures to name a new file"):
            write(made([LINEAR], []), tmp_path / name)
    assert (tmp_path / "known.toml").read_text() == "mine"
    assert not (tmp_path / "elsewhere.toml").exists()

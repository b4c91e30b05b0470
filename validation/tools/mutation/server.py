"""A warm process that runs tests on a mutated copy of the repository, one forked child for each mutant.

    python -P server.py COPY MODULE ...

Importing torch, SciPy, SymPy and pytest takes longer than most tests that kill a mutant. So this process imports them,
the MODULES, once, and nothing of the repository; each child imports the repository from COPY, as it is at that time.
It reads one request a line and answers each by one line, `{"killed_by": name or null, "seconds": CPU time}`:

    {"tests": [[file or test, ...], ...], "clauses": [prefix, ...], "variants": [prefix, ...],
     "examples": of Hypothesis, "seconds": limit}

It is run as a file, because `-m` would import the repository.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

FACTORY = "refdiff.conformance.reference:target"
OPTIONS = (
    *("-x", "-q", "--tb=no", "--no-header", "--no-summary", "-W", "ignore:Module already imported"),
    *("-p", "no:cacheprovider", "-p", "refdiff.conformance.plugin", "-p", "_hypothesis_pytestplugin"),
)
SLOW = (", torch", ", torch compiled", ", jax")
"""Variants in these libraries repeat those in NumPy."""
MEMORY = 6 << 30
PATIENCE = 60.0
"""Times the limit on CPU time that a child may take in all, as other programs may slow it down."""


class Watch:
    """A plugin of pytest that runs the shortest tests first, notes how long each takes, and the first that fails."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        """Take how long tests took before."""
        self.failed: str | None = None
        self.seconds = dict(seconds)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order the tests by how long they took before."""
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that fails, and the time of one that was called."""
        self._note(report)
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be imported."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def warm(modules: Sequence[str]) -> None:
    """Import modules, and take off what only slows the tests down."""
    for name in modules:
        importlib.import_module(name)
    import jaxtyping
    import torch

    torch.set_num_threads(1)
    # Checks of types at run time triple the time of a test, and most faults that they find fail in torch as well.
    jaxtyping.install_import_hook = lambda *_: None
    os.environ.update(HYPOTHESIS_PROFILE="mutation", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    gc.collect()
    gc.freeze()


def first_failure(request: Mapping[str, Any], watch: Watch) -> str | None:
    """Run groups of tests, then checks on refdiff, then checks on variants; return the first that fails."""
    for files in request["tests"]:
        code = pytest.main([*OPTIONS, *files], plugins=[watch])
        if code != pytest.ExitCode.OK:
            return watch.failed or f"pytest ended with {code}"
    clauses, variants = tuple(request["clauses"]), tuple(request["variants"])
    return (clauses and _failed_check(clauses)) or (variants and _misjudged_variant(variants)) or None


def _failed_check(clauses: tuple[str, ...]) -> str | None:
    """Return a check of these clauses that refdiff fails."""
    from refdiff.conformance.judge import Judge
    from validation.checks.suite import checks

    judge = Judge.of(FACTORY)
    for check, body in checks():
        if not check.clause.startswith(clauses):
            continue
        for outcome in judge.run(check, body):
            if outcome.status in ("fail", "warning", "suite_error", "not_run"):
                return f"{outcome.clause} {outcome.check}"
    return None


def _misjudged_variant(clauses: tuple[str, ...]) -> str | None:
    """Return a wrong variant that passes a clause that it breaks, or a right one that fails one of these clauses."""
    from refdiff.conformance.judge import Judge, Settings
    from tests.meta.variants.family import RIGHT, WRONG
    from tests.meta.variants.judging import failing, wanted

    for variant in (*WRONG, *RIGHT):
        asked = {clause for clause in variant.breaks if clause.startswith(clauses)}
        chosen = [
            (check, body)
            for check, body in wanted(variant)
            if (check.clause in asked if variant.breaks else check.clause.startswith(clauses))
        ]
        if not chosen or variant.name.endswith(SLOW):
            continue
        outcomes = Judge.of(variant, Settings(seconds=60.0)).judge(chosen)
        if variant.breaks and (passed := asked - {one.clause for one in outcomes if one.status == "fail"}):
            return f"the wrong variant {variant.name} passes {min(passed)}"
        if not variant.breaks and (failed := failing(outcomes)):
            return f"the right variant {variant.name} fails {min(failed)}"
    return None


def _hasten(examples: int) -> None:
    """Let Hypothesis draw so many examples by default, and not shrink one that fails."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutation", max_examples=examples, deadline=None, derandomize=True, database=None, phases=phases
    )


def run(request: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Run a request in a child, and return the answer; a child that exceeds its limits kills the mutant too.

    seconds: how long tests took before, which a run without a failure completes.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _serve(request, Watch(seconds), send)
    os.close(send)
    said, deadline = b"", time.monotonic() + PATIENCE * request["seconds"]
    # It is read while the child runs, since it may be more than a pipe holds.
    while (left := deadline - time.monotonic()) > 0.0 and select.select([receive], [], [], left)[0]:
        if not (part := os.read(receive, 1 << 16)):
            break
        said += part
    else:
        os.killpg(child, signal.SIGKILL)
    os.close(receive)
    _, status, usage = os.wait4(child, 0)
    killed_by, took = json.loads(said) if said else (f"a limit or a crash: status {status}", {})
    if killed_by is None:
        seconds.update(took)
    return {"killed_by": killed_by, "seconds": round(usage.ru_utime + usage.ru_stime, 2)}


def _serve(request: dict[str, Any], watch: Watch, send: int) -> None:
    """Run a request in this child, and end it."""
    os.setpgid(0, 0)
    limit = int(request["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.argv = ["pytest"]
    try:
        _hasten(request["examples"])
        name = first_failure(request, watch)
    except BaseException as error:  # noqa: BLE001 - whatever the mutant raises, SystemExit too, kills it
        name = f"{type(error).__name__} outside of a test"
    with os.fdopen(send, "w", encoding="utf-8") as pipe:
        json.dump((name, watch.seconds), pipe)
    os._exit(0)


def main(copy: str, modules: Sequence[str]) -> None:
    """Serve requests until the input ends."""
    os.chdir(copy)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.dont_write_bytecode = True
    warm(modules)
    print("ready", file=answers, flush=True)
    seconds: dict[str, float] = {}
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), seconds)), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

"""The pytest plugin: its options, and the session that judges.

Installed as an entry point, so it is loaded in every pytest session where refdiff is installed: it
imports nothing heavy, and does nothing until a target is named or a check is collected.
"""

from __future__ import annotations

import pytest

from refdiff.conformance import options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and the session; read what the options name, if they name anything."""
    from refdiff.conformance.session import Session

    config.addinivalue_line("markers", "refdiff_check(check): judges a target on a clause; set by refdiff")
    config.addinivalue_line("markers", "refdiff_evidence(evidence): evidence that a clause is true; set by refdiff")
    choice = options.chosen(config)
    if choice.named or choice.chapters or choice.required:
        choice.refuse()
    if (first := choice.first_known) and (config.invocation_params.dir / first).exists():
        raise pytest.UsageError(
            f"expected --refdiff-write-known-failures to name a new file, got {first}, which is there"
        )
    known = {}
    if path := config.getoption("refdiff_known_failures"):
        from refdiff.conformance.clauses import clauses
        from refdiff.conformance.known import read
        from refdiff.errors import ConfigError

        try:
            known = dict(read(config.invocation_params.dir / path, clauses()))
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(Session(config, choice, known), "refdiff-session")

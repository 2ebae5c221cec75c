"""The errors that the tests have measured, as the table of docs/third-party.md, at the end of the run."""

from __future__ import annotations

import pytest
from measuring import ROWS, table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS:
        terminalreporter.section("third-party models (docs/third-party.md)")
        terminalreporter.write_line(table())

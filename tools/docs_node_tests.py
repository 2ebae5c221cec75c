"""The table of the node tests of ONNX, case by case, by running them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "onnx_io"))
node_cases: Any = importlib.import_module("node_cases")  # the tests run the same cases
TOLERANCE, LOSS = node_cases.TOLERANCE, node_cases.LOSS


def node_table() -> list[tuple[str, str, str, str, str]]:
    """(case, attributes, output, float, integers): a tick, or the reason of the refusal in the importer's words."""
    rows = []
    for case in node_cases.cases():
        given = ", ".join(
            f"`{name} = {value.decode() if isinstance(value, bytes) else value}`" for name, value in node_cases.attributes(case).items()
        )
        for outcome in node_cases.outcomes(case):
            exact = outcome.error <= node_cases.TOLERANCE
            same = outcome.differing == 0 and outcome.loss <= node_cases.LOSS
            reason = outcome.reason.rpartition("): ")[2]
            columns = (f"refused: {reason}", "") if reason else ("\u2713" if exact else "wrong", "\u2713" if same else "wrong")
            rows.append((case.name, given, outcome.output, *columns))
    return rows

"""Without PyTorch everything else works, and `edge_lstm.torch` says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import sys
sys.modules["torch"] = None  # any import of it now fails as if it were not installed
from edge_lstm.errors import EdgeLstmError
try:
    import edge_lstm.torch
except EdgeLstmError as error:
    assert isinstance(error, ImportError)
    print(error)
"""


def test_the_error_names_the_extra_to_install() -> None:
    output = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True, cwd=ROOT, timeout=60).stdout
    assert output.strip() == "edge_lstm.torch needs PyTorch; install it with: pip install 'edge-lstm[torch]'"

"""The command `edge-lstm`: one file per command, which reads the call, starts the job and shows its result; the jobs live elsewhere.

Every command imports what it needs when it runs, so that `--help` and mistakes in a call are answered at once.
Exit status: 0 done, 1 the job failed, 2 the call was wrong, 130 interrupted.
"""

from edge_lstm.cli.program import app, main

__all__ = ["app", "main"]

"""The failures a user can cause and repair; each carries one clear line: what, where, what to do."""

from __future__ import annotations


class EdgeLstmError(Exception):
    """The job failed (command exit status 1). The message is one line that says what went wrong, where, and what to do."""


class UsageError(EdgeLstmError):
    """The call itself was wrong, before any work was done (command exit status 2)."""

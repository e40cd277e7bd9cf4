"""Errors that are the user's to mend: shown as one message, without a traceback."""


class CnnbenchError(Exception):
    """A mistake the user can correct; its text says what, where and what to do (exit code 2)."""

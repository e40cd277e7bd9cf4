"""Errors that are the user's to mend: shown as one message, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

Setting = tuple[str | int, ...]


class CnnbenchError(Exception):
    """A mistake the user can correct; its text says what, where and what to do (exit code 2).

    `setting` is the key of a recipe that it is about, such as ("train", "epochs"), as far as that is known.
    """

    setting: Setting = ()

    def about(self, *setting: str | int) -> Self:
        """The same, known to be about this key, or within it where one is known already."""
        self.setting = (*setting, *self.setting)
        return self


@contextmanager
def about(*setting: str | int) -> Iterator[None]:
    """What goes wrong within is about this key of a recipe."""
    try:
        yield
    except CnnbenchError as error:
        error.about(*setting)
        raise

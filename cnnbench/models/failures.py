"""What goes wrong in a model of the user's own, said as the user's mistake."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from traceback import extract_tb

from cnnbench import catalog
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import Named
from cnnbench.signatures import is_file_target, split_target


@contextmanager
def naming_failures(
    model: Named, in_shape: tuple[int, int, int], plugins: Sequence[str] = ()
) -> Iterator[None]:
    """Turns any exception of a plugin's or a library's model into a CnnbenchError that names it.

    One from a model of ours goes through: it is a fault of ours.
    """
    try:
        yield
    except CnnbenchError:
        raise
    except Exception as error:
        target = catalog.target("model", model.name, tuple(plugins))
        if catalog.is_library_model(model.name, plugins):
            target = model.name
        elif not is_file_target(target):
            raise
        size = "×".join(map(str, in_shape))
        found = _last_line(error, (split_target(target)[0],))
        where = f" (line {found[1]})" if found else ""
        raise CnnbenchError(f"{target} fails on an image of {size}: {_reason(error)}{where}") from error


class PluginError(CnnbenchError):
    """A user's own code failed in a run."""


@contextmanager
def naming_plugins(plugins: Sequence[str]) -> Iterator[None]:
    """Turns an exception that comes out of a plugin's code into a PluginError with file and line."""
    try:
        yield
    except CnnbenchError:
        raise
    except Exception as error:
        found = _last_line(error, plugins)
        if found is None:
            raise
        file, line = found
        raise PluginError(f"{file}:{line} fails in its run: {_reason(error)}") from error


def _last_line(error: Exception, files: Sequence[str]) -> tuple[str, int | None] | None:
    """Where in these files an exception came by last; None where it did not."""
    lines = [
        (each.filename, each.lineno) for each in extract_tb(error.__traceback__) if each.filename in files
    ]
    return lines[-1] if lines else None


def _reason(error: Exception) -> str:
    return ": ".join(filter(None, (type(error).__name__, str(error).partition("\n")[0])))

"""The program: its commands, what ends it, and with which exit code. Its start imports nothing heavy."""

import errno
import os
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from cnnbench import console
from cnnbench.commands.bench import bench
from cnnbench.commands.compare import compare
from cnnbench.commands.data import data
from cnnbench.commands.list_ import list_
from cnnbench.commands.outcomes import INTERRUPTED, USER_MISTAKE
from cnnbench.commands.predict import predict
from cnnbench.commands.recipe import recipe
from cnnbench.commands.report import report
from cnnbench.commands.show import show
from cnnbench.errors import CnnbenchError
from cnnbench.interrupts import Interrupts

app = typer.Typer(
    name="cnnbench",
    help="Fair, repeated, honest comparisons of image models: a TOML recipe asks, trained runs answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (recipe, report, compare, bench, predict, show):
    app.command()(command)
app.command("list")(list_)
app.command()(data)


def show_version(wanted: bool) -> None:
    """Runs while the options are read, since `--version` needs no command after it."""
    if wanted:
        from importlib.metadata import version

        console.write(f"cnnbench {version('cnnbench')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Shows the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """The options of the program as a whole."""


def main() -> None:
    """The entry point: exit codes 0 done, 2 the user's mistake, 3 a failed check, 130 interrupted, else 1."""
    interrupts = Interrupts()
    ready_streams()
    try:
        run_app()
    except KeyboardInterrupt:
        end_interrupted()
    except Exception:
        if not interrupts.seen:
            raise
        end_interrupted()


def ready_streams() -> None:
    """Output that is closed goes nowhere, and what its encoding lacks is written with other signs."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 open to the end
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=console.IN_OTHER_SIGNS)


def end_interrupted() -> NoReturn:
    console.say("interrupted", "yellow")
    sys.exit(INTERRUPTED)


MISTAKEN_PATHS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO)


def run_app() -> None:
    """Runs the command; the user's mistakes and a disk that cannot be written end in a message."""
    try:
        app()
    except CnnbenchError as error:
        console.fail(str(error))
        sys.exit(USER_MISTAKE)
    except BrokenPipeError:
        # The reader of stdout has gone, as `head` does; Python must not complain of it on the way out.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.exit(1)
    except OSError as error:
        if error.errno in MISTAKEN_PATHS:
            console.fail(f"{error.filename}: {error.strerror}; name another place")
            sys.exit(USER_MISTAKE)
        if error.errno not in UNWRITABLE:
            raise
        console.fail(
            f"{error.strerror}: {error.filename or 'while writing'}; what was finished before is kept"
        )
        sys.exit(1)

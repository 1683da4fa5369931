"""The command line: the same words as in Python, errors in one line."""

import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from diffmaac.commands import (
    check_gradients,
    envs,
    evaluate,
    export,
    gradient_error,
    model_error,
    plot,
    report,
    reproduce,
    runs,
    settings,
    sweep,
    train,
)
from diffmaac.commands.colours import ColouredCommand, ColouredGroup
from diffmaac.errors import DiffmaacError, exit_on_error
from diffmaac.provenance import version

HINT = "`diffmaac --help` lists the commands, `diffmaac COMMAND --help` their words."
app = typer.Typer(cls=ColouredGroup, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)
for name, module in {
    "train": train,
    "evaluate": evaluate,
    "plot": plot,
    "report": report,
    "export": export,
    "sweep": sweep,
    "runs": runs,
    "reproduce": reproduce,
    "check-gradients": check_gradients,
    "gradient-error": gradient_error,
    "model-error": model_error,
    "envs": envs,
    "settings": settings,
}.items():
    app.command(name, cls=ColouredCommand, help=module.HELP)(module.command)


def _print_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"diffmaac {version('diffmaac')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = None,
) -> None:
    """diffmaac: policy optimisation by backpropagation through learned or true dynamics."""


class _EchoHandler(logging.Handler):
    """What the library has to say, on standard error, wherever that is by then (a progress line may hold it)."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"diffmaac: {record.getMessage()}", err=True)


@contextmanager
def _log_shown() -> Iterator[None]:
    """Shows the library's log, from INFO on."""
    logger, handler = logging.getLogger("diffmaac"), _EchoHandler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # absl, which JAX loads, would say it all again
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


def main(arguments: Iterable[str] | None = None) -> None:
    """The entry point. A DiffmaacError, or a file that cannot be used, becomes one line and exit code 2.

    Without arguments it shows the help.
    A termination is an interruption, so that a command stops its children and says how to go on.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _log_shown(), exit_on_error():
        try:
            words = sys.argv[1:] if arguments is None else list(arguments)
            code = app(args=words or ["--help"], prog_name="diffmaac", standalone_mode=False)
        except typer.Abort:
            sys.exit(130)
        except typer.TyperException as error:
            raise DiffmaacError(f"{str(error).rstrip('.')}. {HINT}") from error
        except OSError as error:
            raise DiffmaacError(f"{error.filename or 'a file'} cannot be used: {error.strerror}.") from error
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()

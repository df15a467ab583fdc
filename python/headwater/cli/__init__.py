"""The command line: `headwater COMMAND`, and `python -m headwater COMMAND`.

One file a command, with one function of the command's name: its parameters are the arguments and options, its docstring the help, and
what it returns the exit code (nothing: 0). What it needs beyond `headwater` itself it imports inside, so that the others start fast.
Shared are the options (options.py), the connection (session.py) and what is printed (output.py). A command raises; `main` prints.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from .. import BatchError, HeadwaterError, UsageError, __version__

__all__ = ["COMMANDS", "main"]

#: Every command, in the order of the help: the function of this name in headwater.cli.<name>.
COMMANDS = (
    "demo", "ls", "stats", "top", "tail", "publish", "put", "take", "append", "read",
    "dead", "group", "trim", "delete", "trace", "backup", "bench", "doctor",
)  # fmt: skip

#: What a shell answers for a program that Ctrl-C ended.
INTERRUPTED = 130

# Click's exception for everything it has to say about a command line. By way of one that typer exports: it brings a click of its own,
# and older ones use the package. What is read of it here, both classes have.
_Refusal = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and answers its exit code: 0, 1 after an error, 2 for a wrong command line, 130 after Ctrl-C.

    An error is one line on stderr. Where nobody reads stdout any more (`headwater read orders | head -1`) it ends quietly with 0:
    whoever closed the pipe had what he wanted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _standard_files()
    try:
        try:
            code = _run(given)
            # What is still in the buffer may fail to go out, as on a full disk.
            sys.stdout.flush()
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            code = complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error), 1)
            _discard_stdout()
    except BrokenPipeError:
        _discard_stdout()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _standard_files() -> None:
    """Opens what the caller closed (`headwater read orders >&-`): else a file of the engine would become stdin, stdout or stderr."""
    for name, mode, file in (("stdin", "r", 0), ("stdout", "w", 1), ("stderr", "w", 2)):
        if getattr(sys, name) is None:
            found = os.open(os.devnull, os.O_RDWR)
            if found != file:
                os.dup2(found, file)
                os.close(found)
            setattr(sys, name, open(file, mode, closefd=False))  # noqa: SIM115 - it stays open until the process ends


def _discard_stdout() -> None:
    # The interpreter flushes stdout once more on its way out, and would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str]) -> int:
    try:
        program = build(*[each for each in given[:1] if each in COMMANDS])
        with program.make_context("headwater", given) as context:
            code = program.invoke(context)
        return code if isinstance(code, int) else 0
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return complain("nothing was done", 1)
    except _Refusal as refusal:
        context: typer.Context | None = getattr(refusal, "ctx", None)
        path = context.command_path if context is not None else "headwater"
        if not refusal.format_message():
            # Click's way to show the help of a command that was called without any argument.
            sys.stderr.write((context.get_help() if context is not None else "") + "\n")
            return 2
        return complain(f"{refusal.format_message()} (see {path} --help)", 2)
    except UsageError as error:
        return complain(str(error), 2)
    except BatchError as error:
        first = error.exceptions[0]
        several = f"{len(error.exceptions)} of {len(error.results)} failed, first: "
        return complain(f"{several if len(error.results) > 1 else ''}{first}", 2 if isinstance(first, UsageError) else 1)
    except HeadwaterError as error:
        return complain(str(error) or type(error).__name__, 1)


def complain(text: str, code: int) -> int:
    """Prints an error as one line on stderr; answers `code`."""
    sys.stderr.write(f"headwater: {' '.join(text.split())}\n")
    return code


def build(*names: str) -> Any:
    """The program with these commands; with none given, with all."""
    app = typer.Typer(
        name="headwater",
        help="Messaging from one directory to a cluster: channels, queues, streams and groups.",
        add_completion=False,
        # Plain help: rich would cost a third of the start-up time.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
    app.callback(invoke_without_command=True)(_program)
    for name in names or COMMANDS:
        app.command(name, no_args_is_help=False)(getattr(importlib.import_module(f".{name}", __package__), name))
    return typer.main.get_command(app)


def _program(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        sys.stdout.write(f"{__version__}\n")
    elif context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
        raise typer.Exit(2)

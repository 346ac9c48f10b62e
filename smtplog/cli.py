"""The command line: one module of ``smtplog.commands`` a command, imported only when it is asked for."""

from __future__ import annotations

import ast
import pkgutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from smtplog import __version__, commands
from smtplog.errors import SmtplogError


class _Commands(TyperGroup):
    """Finds commands by walking the package; ``--help`` reads their first lines without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        if ctx.invoked_subcommand is None and "--help" in sys.argv[1:2]:
            return _named(cmd_name)
        return _built(cmd_name, import_module(f"smtplog.commands.{cmd_name}").command)


def _built(name: str, function: Any) -> Any:
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name)(function)
    command = typer.main.get_command(single)
    command.name = name
    return command


def _named(name: str) -> Any:
    """A command that knows only what it is for."""
    source = (Path(commands.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]

    def nothing() -> None:
        """Never called: stands for a command in the list."""

    nothing.__doc__ = first
    return _built(name, nothing)


app = typer.Typer(
    cls=_Commands, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"smtplog {__version__}")
        raise typer.Exit


@app.callback()
def _smtplog(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Read saved SMTP dialogs — Telnet logs, Exchange, Postfix, swaks — and say what happened, what went wrong and what to do."""


def main() -> None:
    """The entry point: errors become one sentence and exit code 2, an interrupt 130."""
    try:
        code = app(standalone_mode=False)
    except SmtplogError as error:
        code = complain(str(error))
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = _usage(error)
    sys.exit(code if isinstance(code, int) else 0)


def complain(sentence: str) -> int:
    """One sentence on standard error; the exit code for it."""
    from smtplog.output import printable

    print(f"smtplog: {printable(sentence)}", file=sys.stderr)
    return 2


def _usage(error: Exception) -> int:
    """What the option parser has to say; anything else is a fault of smtplog and may show itself."""
    if hasattr(error, "exit_code"):
        message = getattr(error, "format_message", lambda: "")()
        if message:
            complain(message)
        return 130 if type(error).__name__ == "Abort" else int(error.exit_code)
    if type(error).__name__ == "Abort":
        return 130
    if isinstance(error, OSError) and error.filename:
        return complain(f"{error.filename}: {error.strerror}")
    raise error

"""How a command ends: exit codes, and one line on stderr for whatever went wrong. A traceback is a bug.

    0     fine; also when the reader of our output had enough and closed the pipe
    1     it failed: refused, unreachable, closed by the server
    2     it was asked for the impossible: a bad option or address, a port in use
    130   Ctrl-C (128 + SIGINT, as shells have it)
"""

import asyncio
import enum
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click

from pubsub.errors import ConfigError, MisuseError, PubSubError

__all__ = ["Exit", "end", "run_until_done"]


class Exit(enum.IntEnum):
    FINE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


def run_until_done(main: Coroutine[Any, Any, int]) -> int:
    """Run a command's coroutine; its exit code."""
    try:
        return asyncio.run(main)
    except KeyboardInterrupt:  # caught here, because click would answer it with a line of its own
        return Exit.INTERRUPTED


def end(command: Callable[[], int | None]) -> int:
    """Call `command`; the exit code, after the line that says what went wrong."""
    try:
        return command() or Exit.FINE
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        return _fail(_click_message(error), Exit.USAGE)
    except (ConfigError, MisuseError) as error:
        return _fail(str(error), Exit.USAGE)
    except (PubSubError, OSError) as error:
        return _fail(str(error), Exit.FAILED)


def _fail(message: str, code: Exit) -> Exit:
    print(f"fastpubsub: {message}", file=sys.stderr)
    return code


def _click_message(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message}; see {context.command_path} --help"

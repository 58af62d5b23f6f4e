"""The commands together: ``fastpubsub serve``, ``pub``, ``sub``, ``check``, ``bench`` and ``completion``."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import click
from click.shell_completion import get_completion_class

from pubsub import __version__
from pubsub.cli.bench import bench
from pubsub.cli.check import check
from pubsub.cli.exits import end
from pubsub.cli.pipes import fill_standard_descriptors
from pubsub.cli.pub import pub
from pubsub.cli.serve import serve
from pubsub.cli.sub import sub

__all__ = ["fastpubsub", "run"]

_PROGRAM: Final = "fastpubsub"


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"fastpubsub {__version__} (Python {platform.python_version()}, wsproto {version('wsproto')})")
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Three terminals:
  fastpubsub serve
  fastpubsub sub /news
  fastpubsub pub /news "hello, everyone"
""",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Say which and end."
)
def fastpubsub() -> None:
    """Publish and subscribe over WebSockets: a topic is a URL path.

    Every message published to a path reaches everyone subscribed to it, in one order. Without a URL, PUBSUB_ADDR
    says where the server is, in the form `serve` takes: HOST:PORT, :PORT or [v6]:PORT. The default is 127.0.0.1:8080.
    """


@fastpubsub.command(short_help="Print the script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes this command in SHELL.

    \b
    bash   eval "$(fastpubsub completion bash)"    in ~/.bashrc
    zsh    eval "$(fastpubsub completion zsh)"     in ~/.zshrc, after compinit
    fish   fastpubsub completion fish > ~/.config/fish/completions/fastpubsub.fish
    """
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"this version of click cannot complete in {shell}")
    click.echo(script(fastpubsub, {}, _PROGRAM, "_FASTPUBSUB_COMPLETE").source())


for _command in (serve, pub, sub, check, bench):
    fastpubsub.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    fill_standard_descriptors()
    return end(lambda: fastpubsub.main(arguments, prog_name=_PROGRAM, standalone_mode=False))

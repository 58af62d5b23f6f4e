"""``fastpubsub bench``: how fast this installation is, or a server elsewhere."""

import re
from typing import Any

import click

from pubsub.cli.connecting import header_flag
from pubsub.cli.flags import duration, size

__all__ = ["bench"]


def _part(text: str) -> float:
    """A number of subscribers, or a share of them as a negative fraction: `5%` is -0.05."""
    found = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", text)
    if found is None or float(found[2] or 0) > 100:
        raise click.BadParameter(f"{text!r} is neither a number nor a share; give 20 or 5%")
    return int(found[1]) if found[1] else -float(found[2]) / 100


def _sizes(text: str) -> tuple[int, int]:
    """A size, or the least and the most."""
    least, _, most = text.partition("-")
    return size(least), size(most or least)


@click.command(
    short_help="Measure how fast it is.",
    epilog="""\b
Examples:
  fastpubsub bench                                   this installation: latency, then all it can do
  fastpubsub bench -s 10000 --rate 10 --duration 30s
  fastpubsub bench --topics 500 -s 5000 --size 16-4KiB --text --rate 2000
  fastpubsub bench --stalled 1% --come-and-go 10% --rate 500
  fastpubsub bench --storm                           how fast it takes connections
  fastpubsub bench ws://10.0.0.7:8080 --unthrottled --json
""",
)
@click.argument("url", required=False)
@click.option("-s", "--subscribers", type=int, metavar="N", help="[default: 1000; with --storm 10000]")
@click.option("-p", "--publishers", type=int, metavar="N", help="[default: as many as topics]")
@click.option("-t", "--topics", type=int, default=1, metavar="N", help="Over which all are spread. [default: 1]")
@click.option(
    "--size",
    "sizes",
    type=_sizes,
    default="128",
    metavar="SIZE|MIN-MAX",
    help="Of a message, or of the smallest and the largest. [default: 128]",
)
@click.option("--text", is_flag=True, help="Text messages; else binary ones.")
@click.option("--rate", type=float, default=0.0, metavar="R", help="Messages a second of all publishers together.")
@click.option("--window", type=int, default=0, metavar="N", help="So many messages of a publisher on the way.")
@click.option("--unthrottled", is_flag=True, help="As fast as the server takes them.")
@click.option("--storm", is_flag=True, help="Connections only, as fast as the server takes them.")
@click.option("--duration", "seconds", type=duration, metavar="DURATION", help="Of a run. [default: 5s]")
@click.option("--messages", type=int, metavar="N", help="Of each publisher, in place of a duration.")
@click.option("--stalled", type=_part, default="0", metavar="N|P%", help="Subscribers that never read.")
@click.option("--slow", type=_part, default="0", metavar="N|P%", help="Subscribers that read --slow-rate.")
@click.option("--slow-rate", type=size, default="64KiB", metavar="SIZE", help="A second. [default: 64KiB]")
@click.option(
    "--come-and-go",
    "visitors",
    type=_part,
    default="0",
    metavar="N|P%",
    help="Subscribers that leave and come back, again and again.",
)
@click.option("--stay", type=duration, default="1s", metavar="DURATION", help="How long they stay. [default: 1s]")
@click.option("--ramp-up", type=duration, default="0s", metavar="DURATION", help="Time to connect all. [default: 0s]")
@click.option("--connecting", type=int, default=64, metavar="N", help="Upgrades at a time. [default: 64]")
@click.option("--patience", type=duration, default="10s", help="End when nothing comes for so long. [default: 10s]")
@click.option("--pid", type=int, metavar="PID", help="The server's process, to read its CPU and memory.")
@click.option("--serve", "serve_flags", metavar="'FLAGS'", default="", help="For the server that it starts.")
@click.option("--pin/--no-pin", default=True, help="Keep its own server on one CPU and the load on another.")
@header_flag
@click.option("--json", "as_json", is_flag=True, help="An object a line for each run, on stdout.")
def bench(*, url: str | None, as_json: bool, **asked: Any) -> int:
    """Load a server and say what it did.

    Without a URL it starts a server by itself. With one, any server will do that speaks the protocol; its path is the
    topic. With no --rate, --window, --unthrottled or --storm there are two runs: 100 messages a second for the latency,
    then unthrottled. Latency counts from when a message was due, so that a standstill is not hidden.

    The exit code is 1 when something was lost, duplicated or reordered, or the server closed a connection that reads.
    """
    from pubsub.cli.benching import run_bench

    return run_bench(url, as_json=as_json, **asked)

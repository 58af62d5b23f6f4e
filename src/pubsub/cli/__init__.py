"""The command ``fastpubsub``: where it starts.

``main`` is what the console script calls. Two projects have an import package named ``pubsub``; the one installed last
owns ``pubsub/__init__.py``, while this folder stays. So nothing else is imported before it is known whose it is.

    command      the commands together          pub, sub, check   fastpubsub pub, sub, check
    exits        exit codes, errors as a line   connecting        what these three share
    pipes        stdin and stdout on the loop   serve, flags      fastpubsub serve: what it is told,
                                                serving           what it does,
                                                eventlines        and what it says
    bench            fastpubsub bench                             benching          with pubsub.bench
"""

import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments` (the process's own by default) and exit the process with its exit code."""
    import pubsub

    if not _is_ours(pubsub):
        print(f"fastpubsub: {_whose(pubsub)}", file=sys.stderr)
        sys.exit(2)

    from pubsub.cli.command import run

    sys.exit(run(arguments))


def _is_ours(package: ModuleType) -> bool:
    return "PubSubError" in getattr(package, "__all__", ())


def _whose(package: ModuleType) -> str:
    owner = "Pypubsub's" if "pub" in getattr(package, "__all__", ()) else "another project's"
    return (
        f"the package `pubsub` in {', '.join(package.__path__)} is {owner}, not fastfan's; "
        "the two cannot share an environment: install fastfan in one of its own (python -m venv)"
    )

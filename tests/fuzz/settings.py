"""`name=value` arguments of the fuzz programs, as `make fuzz` takes them."""

import random
import sys

__all__ = ["settings"]


def settings(arguments: list[str], **known: str) -> dict[str, str]:
    """`known` with what is given; a seed by chance where none is. Ends the program at what is not known."""
    found = {"seed": str(random.randrange(1 << 32)), "seconds": "", "input": ""} | known
    for argument in arguments:
        name, mark, value = argument.partition("=")
        if not mark or name not in found:
            sys.exit(f"what is {argument}? " + " ".join(f"{name}=..." for name in found))
        found[name] = value
    return found

"""Every departure that the server tells, matched with what its client did.

A client of the soak has a name of its own, and the server's id begins with it. The client says how it ended (`Ending`:
the causes that are right for that), the server says why it departed; whichever comes first waits for the other.

    client   ended: a Close        ─┐
                                    ├─► matched, and forgotten         else a fault that says who, what and why
    server   departed: "closed"    ─┘
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Departures", "Ending", "name_of"]

_UUID_CHARACTERS = 37  # with the hyphen before it
_FAULTS_SHOWN = 50


def name_of(client_id: str) -> str:
    """The name a client gave: its id is NAME-UUID4."""
    return client_id[:-_UUID_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Ending:
    """How one client ended, or several by one name."""

    name: str
    causes: frozenset[str]  # any of these is right
    sure: bool = True  # that it was there; False for one that left without reading its 101
    many: bool = False  # any number of clients have this name

    def to_document(self) -> list[Any]:
        return [self.name, sorted(self.causes), self.sure, self.many]

    @classmethod
    def from_document(cls, document: list[Any]) -> Self:
        name, causes, sure, many = document
        return cls(name, frozenset(causes), sure, many)


class Departures:
    """Who ended and who departed, until both are known."""

    def __init__(self) -> None:
        self.matched: Counter[tuple[str, str]] = Counter()  # kind of client, cause
        self.faults: list[str] = []
        self.fault_count = 0
        self._ended: dict[str, Ending] = {}
        self._told: dict[str, list[str]] = {}

    def ended(self, endings: Iterable[Ending]) -> None:
        for ending in endings:
            if ending.name in self._ended:
                self._fault(f"{ending.name} ended twice")
            self._ended[ending.name] = ending
            for cause in self._told.pop(ending.name, ()):
                self._match(ending, cause)

    def departed(self, client_id: str, cause: str) -> None:
        name = name_of(client_id)
        ending = self._ended.get(name)
        if ending is None:
            self._told.setdefault(name, []).append(cause)
        else:
            self._match(ending, cause)

    def finish(self) -> None:
        """Everybody has left: what has waited in vain is a fault."""
        for name, causes in self._told.items():
            self._fault(f"{name} departed ({', '.join(causes)}) and no client says that it ended")
        for ending in self._ended.values():
            if ending.sure and not ending.many:
                self._fault(f"{ending.name} ended, and the server never told of it")
        self._told.clear()
        self._ended.clear()

    def _match(self, ending: Ending, cause: str) -> None:
        if not ending.many:
            del self._ended[ending.name]
        if cause in ending.causes:
            self.matched[kind_of(ending.name), cause] += 1
        else:
            self._fault(f"{ending.name} departed as {cause!r}; right would be {', '.join(sorted(ending.causes))}")

    def _fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < _FAULTS_SHOWN:
            self.faults.append(text)


def kind_of(name: str) -> str:
    """Names are KIND.NUMBER."""
    return name.rpartition(".")[0]

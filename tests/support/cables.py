"""Cables from the server's network namespace to one of clients, which can be cut: nothing gets through any more, and
nobody is told."""

from tests.support.namespaces import Namespace, joined_by_veth, run

__all__ = ["Cable"]


class Cable:
    """A pair of veth interfaces by one name: the server has the address `net`.1, the clients have `net`.2."""

    def __init__(self, server_side: Namespace, clients_side: Namespace, name: str, net: str) -> None:
        self.clients_side = clients_side
        self.host = f"{net}.1"
        self._server_side = server_side
        self._name = name
        self._net = net
        self._mends: list[tuple[Namespace, tuple[str, ...]]] = []
        joined_by_veth(server_side, clients_side, name, net)

    # --- ways to cut it ---

    def pull(self) -> None:
        link = "ip", "link", "set", self._name
        self._cut(self.clients_side, (*link, "down"), (*link, "up"))

    def drop_what_comes_from_the_server(self) -> None:
        self._drop(self._server_side, f"{self._net}.2/32")

    def drop_what_goes_to_the_server(self) -> None:
        self._drop(self.clients_side, f"{self._net}.1/32")

    def mend(self) -> None:
        """As if nothing had been; what was lost meanwhile is lost."""
        while self._mends:
            place, command = self._mends.pop()
            with place:
                run(*command)

    def _drop(self, place: Namespace, packets_to: str) -> None:
        route = "blackhole", packets_to
        self._cut(place, ("ip", "route", "add", *route), ("ip", "route", "del", *route))

    def _cut(self, place: Namespace, command: tuple[str, ...], mend: tuple[str, ...]) -> None:
        with place:
            run(*command)
        self._mends.append((place, mend))

"""Types of the compiled module `fastfan._core`."""

from typing_extensions import disjoint_base

@disjoint_base
class Core:
    """The base of Engine; of no use by itself."""

    @property
    def io_threads(self) -> int:
        """How many I/O threads it was made with."""

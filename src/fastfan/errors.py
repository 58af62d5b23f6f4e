"""What the engine raises. A bad peer is never an exception: it is an event."""

__all__ = ["EngineClosed", "EngineError", "MisuseError", "Overloaded", "TooFarBehind"]


class EngineError(Exception):
    """Whatever the engine raises."""


class MisuseError(EngineError):
    """The caller broke the contract; the text says value, limit and cure."""


class EngineClosed(MisuseError):
    """A call on an engine after its close()."""


class Overloaded(EngineError):
    """The memory limit is reached; nothing was appended."""


class TooFarBehind(EngineError):
    """A reader fell behind over its topic's bound, or was the farthest behind at the memory limit: it has ended."""

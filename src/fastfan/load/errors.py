"""What the load raises."""

from fastfan.errors import EngineError

__all__ = ["LoadError", "LoadStopped"]


class LoadError(EngineError):
    """The server could not be reached, or did not upgrade a connection; the text says what it answered."""


class LoadStopped(EngineError):
    """`stop()` was called during this step. What was done until then is in the report."""

"""Where the seconds of a command go."""

import time


class Stopwatch:
    """Seconds of the parts of a command, one after the other.

    Args:
        begun: when the first part began, by time.monotonic(); None is now.
    """

    def __init__(self, begun: float | None = None) -> None:
        self._last = time.monotonic() if begun is None else begun
        self._parts: list[tuple[str, float]] = []

    def lap(self, what: str) -> tuple[tuple[str, float], ...]:
        """End a part, such as "to start": all parts so far and their seconds."""
        now = time.monotonic()
        self._parts.append((what, now - self._last))
        self._last = now
        return tuple(self._parts)

"""Saying what takes long: the stage that a command is at."""

import logging
import threading
from collections.abc import Callable

Say = Callable[[str], object]

PATIENCE = 2.0
"""Seconds after which a stage that has not ended is said."""


class Stages:
    """Notes each stage in the log as it begins, and says it if it takes long. Used as a context, which ends the last one.

    Example:
        >>> with Stages(print, "seed=0") as stage:
        ...     stage("evaluating test: K = 500")
    """

    def __init__(self, say: Say, label: str) -> None:
        self._say, self._label = say, label
        self._timer: threading.Timer | None = None

    def __call__(self, text: str) -> None:
        self.end()
        logging.getLogger(__name__).info(text)
        self._timer = threading.Timer(PATIENCE, self._say, [f"{self._label}: {text} ..."])
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Ends the stage."""
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

"""A function that runs in a thread while its caller does something else."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundCall(Generic[T]):
    """A call in a thread of its own; `concurrent.futures` takes 4 ms to import."""

    def __init__(self, function: Callable[[], T]) -> None:
        """Begin the call."""
        self._function = function
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def result(self) -> T:
        """Wait for the end of the call; return what it returned, or raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._values[0]

    def _run(self) -> None:
        try:
            self._values.append(self._function())
        except BaseException as error:
            self._error = error

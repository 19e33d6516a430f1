"""Whose turn it is in the network: one picture at a time, asked-for pictures before previews.

A network uses all cores and much memory, so that several at once would gain nothing.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

_POLL_SECONDS = 0.1


class Turns:
    """A lock for the network: pictures that visitors wait for come first, in their order."""

    def __init__(self, pause: Callable[[], object] = lambda: None) -> None:
        """Make the lock, free.

        Args:
            pause: called regularly by threads that wait; it may raise to give up.
        """
        self._pause = pause
        self._changed = threading.Condition()
        self._is_taken = False
        self._asked: deque[object] = deque()  # those that wait for a picture that was asked for

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Hold the network for a picture that a visitor waits for."""
        ticket = object()
        with self._changed:
            self._asked.append(ticket)
        try:
            self._take(lambda: self._asked[0] is ticket)
        finally:
            with self._changed:
                self._asked.remove(ticket)
                self._changed.notify_all()
        yield from self._hold()

    @contextmanager
    def spare(self) -> Iterator[None]:
        """Hold the network for a preview, once nobody waits for an asked-for picture."""
        self._take(lambda: not self._asked)
        yield from self._hold()

    def _take(self, is_next: Callable[[], bool]) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(
                    lambda: not self._is_taken and is_next(), timeout=_POLL_SECONDS
                ):
                    self._is_taken = True
                    return
            self._pause()

    def _hold(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()


@st.cache_resource(show_spinner=False)
def get_turns() -> Turns:
    """Return the turns of the process."""
    return Turns(let_clicks_interrupt)


def let_clicks_interrupt() -> None:
    """End this run of the script if the visitor has clicked on something since it began."""
    if get_script_run_ctx(suppress_warning=True) is not None:  # else it is no run of the script
        st.session_state.get("owner")  # Streamlit looks for clicks on each access

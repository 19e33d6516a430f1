"""The settings of the tab Stylize: their defaults, and how a link names them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

SIZES = (384, 512, 768, 1024, 1536, 2048)
STROKE_SIZES: tuple[Literal["auto"] | float, ...] = ("auto", 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
MAX_FEATHER = 64
MAX_STRENGTH = 150
COLORS: Mapping[Literal["", "luminance", "histogram", "chroma"], str] = {
    "": "The painting's",
    "luminance": "The photo's: brightness alone",
    "histogram": "The photo's: fitted",
    "chroma": "The photo's: even",
}
"""The choices of colours, and their names on the page."""

_MAX_KEY = 200  # letters of a style's name in a link


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the tab.

    Attributes:
        default: its value at the start.
        read: returns its value from the text in a link, or raises ValueError.
    """

    default: Any
    read: Callable[[str], Any]


def _one_of(values: tuple[Any, ...]) -> Callable[[str], Any]:
    names = {str(value): value for value in values}

    def read(text: str) -> Any:
        if text not in names:
            raise ValueError(text)
        return names[text]

    return read


def _read_key(text: str) -> str:
    if len(text) > _MAX_KEY:
        raise ValueError(text)
    return text


_read_bool = _one_of((False, True))

SETTINGS: Mapping[str, Setting] = {
    "strength": Setting(100, _one_of(tuple(range(0, MAX_STRENGTH + 1, 5)))),
    "size": Setting(1024, _one_of(SIZES)),
    "stroke": Setting("auto", _one_of(STROKE_SIZES)),
    "colours": Setting("", _one_of(tuple(COLORS))),
    "blend": Setting("", _read_key),
    "share": Setting(50, _one_of(tuple(range(0, 101, 10)))),
    "elsewhere": Setting("", _read_key),
    "feather": Setting(8, _one_of(tuple(range(MAX_FEATHER + 1)))),
    "invert": Setting(False, _read_bool),
}
"""The settings by the keys of their widgets, which are also their names in links."""


def prepare_settings() -> None:
    """Set the settings that have no value yet: from the link at first, else to the defaults."""
    is_first_run = not st.session_state.get("link_read")
    st.session_state.link_read = True
    for key, setting in SETTINGS.items():
        if key in st.session_state:
            # Also keeps those whose widgets are hidden now; Streamlit would drop them.
            st.session_state[key] = st.session_state[key]
            continue
        value = setting.default
        if is_first_run and key in st.query_params:
            try:
                value = setting.read(st.query_params[key])
            except ValueError:  # a link that was cut off, or of another version
                value = setting.default
        st.session_state[key] = value


def write_link() -> None:
    """Put the settings that differ from the defaults into the page's address."""
    for key, setting in SETTINGS.items():
        value = st.session_state.get(key, setting.default)
        if value != setting.default:
            if st.query_params.get(key) != str(value):
                st.query_params[key] = str(value)
        elif key in st.query_params:
            del st.query_params[key]


def get_settings() -> dict[str, Any]:
    """Return the settings as they are now."""
    return {key: st.session_state.get(key, one.default) for key, one in SETTINGS.items()}


def set_settings(values: Mapping[str, Any]) -> None:
    """Set the settings, in a callback: before the widgets are made."""
    for key in SETTINGS:
        if key in values:
            st.session_state[key] = values[key]

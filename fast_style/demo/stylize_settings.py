"""The settings of the tab Stylize."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from fast_style import StyleOptions
from fast_style.demo.session import handle_network_choice, list_network_sizes
from fast_style.demo.settings import COLORS, MAX_STRENGTH, SIZES, STROKE_SIZES
from fast_style.demo.styles import Style, group_styles, list_registered_styles, mix_styles
from fast_style.demo.text import SUFFIXES


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be made.

    Attributes:
        options: how photos are stylized.
        styles: the styles, blended if that is set.
        format: of the download.
    """

    options: StyleOptions
    styles: Sequence[Style]
    format: str


def show_settings(styles: Sequence[Style]) -> Choice:
    """Show the settings.

    Args:
        styles: those that are chosen in the gallery.
    """
    first, second = st.columns(2, gap="medium")
    with first:
        strength = st.slider(
            "Strength",
            0,
            MAX_STRENGTH,
            step=5,
            format="%d %%",
            key="strength",
            help="0 is the photo, 100 the full style, more is bolder.",
        )
        size = st.select_slider(
            "Working size",
            SIZES,
            format_func=lambda side: f"{side} px",
            key="size",
            help="The longest side of the picture on the page. Larger takes longer.",
        )
    with second:
        stroke_size = st.select_slider(
            "Stroke size",
            STROKE_SIZES,
            format_func=lambda times: "Auto" if times == "auto" else f"{times:g}×",
            key="stroke",
            help="The size of the strokes: fitted to the picture, or relative to what the style "
            "was trained with.",
        )
        colors = st.selectbox(
            "Colours",
            list(COLORS),
            format_func=lambda key: COLORS[key],
            key="colours",
            help="The photo's colours can be kept in three ways: the style changes brightness "
            "alone, its colours are fitted to the photo's, or as the first but even for the eye.",
        )
        format = st.segmented_control(
            "Download as", list(SUFFIXES), default="JPEG", required=True, key="format"
        )
    _show_network_sizes(styles)
    options = StyleOptions(
        size=size,
        stroke_size=stroke_size,
        strength=strength / 100,
        preserve_color=colors or False,
    )
    return Choice(options, _show_blend(styles), str(format))


def _show_network_sizes(styles: Sequence[Style]) -> None:
    """Let the visitor choose among the sizes of the chosen paintings, if they have several."""
    sizes = list_network_sizes()
    if not sizes:
        return
    st.session_state.network = next((s.size for s in styles if s.size in sizes), sizes[0])
    st.segmented_control(
        "Network",
        sizes,
        format_func=str.capitalize,
        required=True,
        key="network",
        on_change=handle_network_choice,
        help="The size of the style's network: tiny is the quickest, full the most detailed.",
    )


def _show_blend(styles: Sequence[Style]) -> Sequence[Style]:
    """Let the visitor blend one style with another; return the blend, or the styles as they are."""
    known = list_registered_styles()
    if len(styles) != 1 or styles[0].key not in known:
        return styles
    groups = [group for group in group_styles(known.values()) if styles[0].key not in group]
    others = {group.first.key: group for group in groups}
    if not others:
        return styles
    if st.session_state.get("blend") not in others:
        st.session_state.pop("blend", None)
    first, second = st.columns(2, gap="medium")  # so that they stay together where it is narrow
    with first:
        other = st.selectbox(
            "Blend with",
            ["", *others],
            format_func=lambda key: others[key].title if key else "Nothing",
            key="blend",
        )
    with second:
        share = st.slider(
            "Share of the other style",
            0,
            100,
            step=10,
            format="%d %%",
            key="share",
            disabled=not other,
        )
    if not other:
        return styles
    # Networks of one size can be mixed into one network.
    mate = others[other].sizes.get(styles[0].size, others[other].first)
    return [mix_styles(styles[0], mate, share)]

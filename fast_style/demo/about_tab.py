"""The tab About: how it works, how each style was trained, and the paintings' sources."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import streamlit as st

from fast_style import ModelCard, NetworkConfig, parameter_count, size_name
from fast_style.demo.session import get_styles, list_all_styles
from fast_style.demo.text import escape_markdown

_HOW = """
A *transformer network* stylizes a photo in one pass. Each network is trained for one painting: a
second network, VGG-16, which was trained to recognise objects, compares the result with the photo
and with the painting.

- **Content.** The features of VGG-16's layer `relu2_2` describe what is where in a picture. The
  result should have those of the photo.
- **Style.** The Gram matrices of four layers measure which features occur *together*, anywhere in
  the picture. They describe brushwork and colours. The result should have those of the painting.
"""

_FORMULAS = (
    r"L_\text{content} = \operatorname{mean}\,\bigl(F(\text{result}) - F(\text{photo})\bigr)^2",
    r"L_\text{style} = \textstyle\sum_l \operatorname{mean}\,"
    r"\bigl(G_l(\text{result}) - G_l(\text{painting})\bigr)^2",
    r"G_l = F_l F_l^\top / (C_l H_l W_l)",
)

_TRAINING = """
Each training step stylizes a batch of photos and changes the weights a little towards lower losses
(optimizer: Muon). After some thousand steps the model is a file of less than a megabyte. VGG is not
needed to use it: stylizing a photo is one pass, about a second on a laptop. This command trains a
style for a painting:

    fast-style train --style-image painting.jpg --photos photos/

The papers: Gatys, Ecker and Bethge 2015 (the losses), Johnson, Alahi and Fei-Fei 2016 (the
network), Ulyanov, Vedaldi and Lempitsky 2016 (instance normalization).
"""

_MAX_POINTS = 2000


def show_about_tab() -> None:
    """Show the tab."""
    st.markdown("#### How it works")
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(_HOW)
    with right:
        for formula in _FORMULAS:
            st.latex(formula)
        st.markdown(_TRAINING)

    known = list_all_styles()
    if not known:
        return
    first = get_styles()[0].key
    key = st.selectbox(
        "Style",
        list(known),
        index=list(known).index(first),
        format_func=lambda key: known[key].title,
        key="about-style",
    )
    card = known[key].card
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### The network")
        st.table(make_network_rows(card.network), width="stretch")
    with right:
        st.markdown("#### The training")
        show_facts(collect_training_facts(card))
        _show_curve(card)
    _show_quality(card)

    st.markdown("#### The paintings")
    st.table(
        [
            {
                "Style": escape_markdown(style.card.name[:60]),
                "Painting": f"*{escape_markdown(style.title)}*",
                "By": escape_markdown(style.attribution),
                "Licence": escape_markdown(style.card.licence[:60]),
            }
            for style in known.values()
        ],
        width="stretch",
    )
    st.caption(
        "The paintings of the styles that ship are in the public domain. The sample photos are in "
        "the public domain or CC0. The file NOTICE of the distribution names authors and sources."
    )


def show_facts(named: Mapping[str, str]) -> None:
    """Show names and values as a list, leaving out empty values."""
    lines = [f"- {name}: {escape_markdown(value[:200])}" for name, value in named.items() if value]
    st.markdown("\n".join(lines))


def make_network_rows(network: NetworkConfig) -> list[dict[str, str]]:
    """Return a row for each layer of a network: channels, and size relative to the photo."""
    width = network.width
    down = [("9×9 convolution", width, "1"), ("3×3, stride 2", 2 * width, "1/2")]
    down += [("3×3, stride 2", 4 * width, "1/4")]
    trunk = [(f"{network.residual_blocks} residual blocks", 4 * width, "1/4")]
    up = [("upsampled 2×, 3×3", 2 * width, "1/2"), ("upsampled 2×, 3×3", width, "1")]
    up += [("9×9 convolution", 3, "1")]
    return [
        {"Layer": name, "Channels": str(channels), "Size": size}
        for name, channels, size in down + trunk + up
    ]


def collect_training_facts(card: ModelCard) -> dict[str, str]:
    """Return the facts about its training that a card has, as names and texts."""
    training = card.training
    named = {"Size": f"{size_name(card.network)}, {parameter_count(card.network):,} parameters"}
    photos, steps = _read_number(training.get("photos")), _read_number(training.get("steps_taken"))
    seconds = _read_number(training.get("seconds"))
    if photos is not None:
        named["Photos"] = f"{photos:,.0f}"
    if steps is not None:
        named["Steps"] = f"{steps:,.0f}"
    if seconds is not None:
        named["Time"] = f"{seconds / 60:,.0f} minutes"
    if isinstance(training.get("device"), str):
        named["On"] = training["device"]
    before = training.get("started_from")
    if isinstance(before, Mapping) and isinstance(before.get("name"), str):
        named["Started from"] = before["name"]
    losses = training.get("final_losses")
    if isinstance(losses, Mapping):
        for name in ("content", "style"):
            value = _read_number(losses.get(name))
            if value is not None:
                named[f"Last {name} loss, weighted"] = (
                    f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
                )
    return named


def read_curve_points(training: Mapping[str, Any]) -> list[dict[str, float | str]]:
    """Return the training curve of a card, one point a row; empty if it has no valid one.

    Args:
        training: the card's `training`; its `curve` has `step` and, by name, losses: lists of
            numbers of one length.
    """
    curve = training.get("curve")
    if not isinstance(curve, Mapping):
        return []
    steps = _read_numbers(curve.get("step"))
    points: list[dict[str, float | str]] = []
    for name in ("total", "content", "style"):
        values = _read_numbers(curve.get(name))
        if not steps or len(steps) != len(values):
            continue
        points += [
            {"step": step, "loss": name, "value": value}
            for step, value in zip(steps, values, strict=True)
            if value > 0  # the axis is logarithmic
        ]
    return points


def make_loss_chart(points: list[dict[str, float | str]], *, height: int) -> alt.Chart:
    """Plot losses over steps.

    Args:
        points: rows with `step`, `loss` (its name) and `value`, above 0.
        height: in pixels.
    """
    chart: alt.Chart = (
        alt.Chart(_make_data(points))
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="Step", axis=alt.Axis(format="d", tickMinStep=1)),
            y=alt.Y(
                "value:Q",
                title="Loss, weighted",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~s", grid=False),  # too many lines on a logarithmic axis
            ),
            color=alt.Color("loss:N", title=None, legend=alt.Legend(orient="top")),
        )
        .properties(height=height)
    )
    return chart


def read_quality_rows(card: ModelCard) -> list[dict[str, float | str]]:
    """Return the measured quality: the iteration of L-BFGS on the pixels that a style equals."""
    rows: list[dict[str, float | str]] = []
    measures = {
        "equals_iteration": "trained layers",
        "on_unseen_layers": "layers not trained on",
        "on_vgg19": "VGG-19",
    }
    for key, values in card.quality.items():
        if not isinstance(values, Mapping):
            continue
        size = key.removeprefix("photos_of_").replace("_px", " px").replace("_", " ")[:40]
        for name, label in measures.items():
            found = values.get(name)
            if not isinstance(found, Mapping):
                continue
            median, quartiles = (
                _read_number(found.get("median")),
                _read_numbers(found.get("quartiles")),
            )
            if median is not None and len(quartiles) == 2:
                low, high = quartiles
                rows.append(
                    {"photos": size, "by": label, "median": median, "low": low, "high": high}
                )
    return rows


def _show_curve(card: ModelCard) -> None:
    points = read_curve_points(card.training)
    if not points:
        st.caption("The card of this style has no training curve.")
        return
    chart = make_loss_chart(points, height=260)
    st.altair_chart(chart, width="stretch", alt="The losses over the steps of the training")


def _show_quality(card: ModelCard) -> None:
    rows = read_quality_rows(card)
    if not rows:
        return
    st.markdown("#### How good it is")
    st.caption(
        "The slow method optimises the pixels of each photo for the same losses. The bars show how "
        "many of its iterations it takes to match one pass of the network: median and quartiles "
        "over photos that were not used in training."
    )
    base = alt.Chart(_make_data(rows)).encode(
        y=alt.Y("photos:N", title=None), yOffset=alt.YOffset("by:N")
    )
    title = "L-BFGS iterations"
    bars = base.mark_bar(height=12).encode(
        x=alt.X("median:Q", title=title),
        color=alt.Color("by:N", title="Judged by", legend=alt.Legend(orient="top", columns=2)),
    )
    spread = base.mark_rule(strokeWidth=2, color="gray").encode(
        x=alt.X("low:Q", title=title), x2="high:Q"
    )
    st.altair_chart(
        bars + spread,
        width="stretch",
        alt="L-BFGS iterations that match one pass of this style",
    )


def _make_data(rows: list[dict[str, float | str]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _read_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _read_numbers(values: object) -> list[float]:
    """Return a list of finite numbers; empty if it is not one, or too long to show."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > _MAX_POINTS:
        return []
    found = [_read_number(value) for value in values]
    return [] if None in found else [value for value in found if value is not None]

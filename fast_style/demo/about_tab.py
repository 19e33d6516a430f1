"""The tab About: how it works, how a style was trained, where the paintings come from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import streamlit as st

from fast_style import ModelCard, NetworkConfig, parameter_count, size_name
from fast_style.demo.session import chosen, styles
from fast_style.demo.text import plain

_HOW = """
A *transformer network* looks at a photo once and paints it. It was trained for one painting, and
learnt by being judged: another network, VGG-16, which recognises things in photos, compares what it
painted with the photo and with the painting.

- **Content.** The features of VGG-16's layer `relu2_2` say what is where. Those of the painted
  photo are to be the photo's own.
- **Style.** How often features occur *together*, wherever that is, says what brushwork and colours
  there are: the Gram matrices of four layers. The painted photo's are to be the painting's.
"""

_FORMULAS = (
    r"L_\text{content} = \operatorname{mean}\,\bigl(F(\text{painted}) - F(\text{photo})\bigr)^2",
    r"L_\text{style} = \textstyle\sum_l \operatorname{mean}\,"
    r"\bigl(G_l(\text{painted}) - G_l(\text{painting})\bigr)^2",
    r"G_l = F_l F_l^\top / (C_l H_l W_l)",
)

_TRAINING = """
Training shows the network one batch of photos after another, each time moves its weights a little
towards lower losses (Muon), and after some thousand steps writes a file of less than a megabyte.
Then no VGG is needed any more: painting a photo is one pass, about a second on a laptop.
`fast-style train --style-image painting.jpg --photos photos/` does it with any painting.

The papers: Gatys, Ecker and Bethge 2015 (the losses), Johnson, Alahi and Fei-Fei 2016 (the
network), Ulyanov, Vedaldi and Lempitsky 2016 (instance normalization).
"""

_MOST_POINTS = 2000


def about() -> None:
    """Show the tab."""
    st.markdown("#### How it works")
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(_HOW)
    with right:
        for formula in _FORMULAS:
            st.latex(formula)
        st.markdown(_TRAINING)

    known = styles()
    if not known:
        return
    first = chosen()[0].key
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
        st.table(network_rows(card.network), width="stretch")
    with right:
        st.markdown("#### The training")
        facts(training_facts(card))
        _curve(card)
    _figures(card)

    st.markdown("#### The paintings")
    st.table(
        [
            {
                "Style": plain(style.card.name[:60]),
                "Painting": f"*{plain(style.title)}*",
                "By": plain(style.by),
                "Licence": plain(style.card.licence[:60]),
            }
            for style in known.values()
        ],
        width="stretch",
    )
    st.caption(
        "The paintings of the styles that ship are in the public domain. The sample photos are in "
        "the public domain or CC0. The file NOTICE of the distribution names authors and sources."
    )


def facts(named: Mapping[str, str]) -> None:
    """Show names and values, without those that are empty."""
    lines = [f"- {name}: {plain(value[:200])}" for name, value in named.items() if value]
    st.markdown("\n".join(lines))


def network_rows(network: NetworkConfig) -> list[dict[str, str]]:
    """The layers of a network, with their channels and the part of the photo's size."""
    width = network.width
    down = [("9×9 convolution", width, "1"), ("3×3, stride 2", 2 * width, "1/2")]
    down += [("3×3, stride 2", 4 * width, "1/4")]
    trunk = [(f"{network.residual_blocks} residual blocks", 4 * width, "1/4")]
    up = [("up to twice, 3×3", 2 * width, "1/2"), ("up to twice, 3×3", width, "1")]
    up += [("9×9 convolution", 3, "1")]
    return [
        {"Layer": name, "Channels": str(channels), "Size": size}
        for name, channels, size in down + trunk + up
    ]


def training_facts(card: ModelCard) -> dict[str, str]:
    """What a card says of its training, in words; what it does not say is left out."""
    training = card.training
    named = {"Size": f"{size_name(card.network)}, {parameter_count(card.network):,} parameters"}
    photos, steps = _number(training.get("photos")), _number(training.get("steps_taken"))
    seconds = _number(training.get("seconds"))
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
            value = _number(losses.get(name))
            if value is not None:
                named[f"Last {name} loss, weighted"] = (
                    f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
                )
    return named


def curve_points(training: Mapping[str, Any]) -> list[dict[str, float | str]]:
    """The training curve of a card, a point a row; none where it has none that is sound.

    Args:
        training: the card's `training`; its `curve` holds `step` and, by name, losses: lists of
            numbers of one length.
    """
    curve = training.get("curve")
    if not isinstance(curve, Mapping):
        return []
    steps = _numbers(curve.get("step"))
    points: list[dict[str, float | str]] = []
    for name in ("total", "content", "style"):
        values = _numbers(curve.get(name))
        if not steps or len(steps) != len(values):
            continue
        points += [
            {"step": step, "loss": name, "value": value}
            for step, value in zip(steps, values, strict=True)
            if value > 0  # the axis is logarithmic
        ]
    return points


def loss_chart(points: list[dict[str, float | str]], *, height: int) -> alt.Chart:
    """Plot losses over steps.

    Args:
        points: a row each, with `step`, `loss` (which one) and `value`, above 0.
        height: in pixels.
    """
    chart: alt.Chart = (
        alt.Chart(_data(points))
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="Step", axis=alt.Axis(format="d", tickMinStep=1)),
            y=alt.Y(
                "value:Q",
                title="Loss, weighted",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~s", grid=False),  # a line for each of 1 to 9 is a fence
            ),
            color=alt.Color("loss:N", title=None, legend=alt.Legend(orient="top")),
        )
        .properties(height=height)
    )
    return chart


def figure_rows(card: ModelCard) -> list[dict[str, float | str]]:
    """What was measured: the iteration of L-BFGS on the pixels that a style's pictures equal."""
    rows: list[dict[str, float | str]] = []
    measures = {
        "equals_iteration": "trained layers",
        "on_unseen_layers": "layers it has not seen",
        "on_vgg19": "VGG-19",
    }
    for key, values in card.quality.items():
        if not isinstance(values, Mapping):
            continue
        size = key.removeprefix("photos_of_").replace("_px", " px").replace("_", " ")[:40]
        for name, words in measures.items():
            found = values.get(name)
            if not isinstance(found, Mapping):
                continue
            median, quartiles = _number(found.get("median")), _numbers(found.get("quartiles"))
            if median is not None and len(quartiles) == 2:
                low, high = quartiles
                rows.append(
                    {"photos": size, "by": words, "median": median, "low": low, "high": high}
                )
    return rows


def _curve(card: ModelCard) -> None:
    points = curve_points(card.training)
    if not points:
        st.caption("This style was trained before cards kept the curve of the losses.")
        return
    chart = loss_chart(points, height=260)
    st.altair_chart(chart, width="stretch", alt="The losses over the steps of the training")


def _figures(card: ModelCard) -> None:
    rows = figure_rows(card)
    if not rows:
        return
    st.markdown("#### How good it is")
    st.caption(
        "The slow way optimises the pixels of each photo for the same losses. So many of its "
        "iterations it takes to match what the network paints in one pass: the median over photos "
        "that it never saw, and the quartiles."
    )
    base = alt.Chart(_data(rows)).encode(
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
        alt="Iterations of L-BFGS that the pictures of this style equal",
    )


def _data(rows: list[dict[str, float | str]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _numbers(values: object) -> list[float]:
    """A list of numbers; empty if it is none, or too long to show."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > _MOST_POINTS:
        return []
    found = [_number(value) for value in values]
    return [] if None in found else [value for value in found if value is not None]

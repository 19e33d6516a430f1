"""The plot of losses over steps."""

from collections.abc import Sequence

import streamlit as st

from fast_style.demo.about_tab import make_loss_chart
from fast_style.demo.job_queue import LossPoint


def show_losses(points: Sequence[LossPoint], *, key: str) -> None:
    """Plot the losses of a job so far."""
    points = list(points)
    rows: list[dict[str, float | str]] = [
        {"step": point.step, "loss": name, "value": value}
        for point in points
        for name, value in point.losses.items()
        if value > 0  # the axis is logarithmic
    ]
    if len(points) > 1:
        chart = make_loss_chart(rows, height=220)
        st.altair_chart(chart, width="stretch", alt="The losses over the steps", key=key)

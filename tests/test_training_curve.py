"""The loss curve on the card, and the losses that a run shows."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_style.models.model_file import read_card
from fast_style.models.network import StyleNetwork
from fast_style.training.callbacks import LossCurve, TimeBudget
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.progress import TrainingProgress
from fast_style.training.progress_bar import ProgressDisplay
from tests.test_training import make_config, quiet_train


def feed(curve: LossCurve, values: list[float], first: int = 1) -> None:
    for step, value in enumerate(values, first):
        losses = {"total": 3 * value, "content": value, "style": 2 * value}
        metrics = {f"loss/{name}": torch.tensor(x) for name, x in losses.items()}
        trainer = SimpleNamespace(callback_metrics=metrics, global_step=step)
        curve.on_train_batch_end(trainer, None, None, None, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 700), st.integers(0, 700))
def test_points_are_means_of_their_steps_also_after_a_resume(before: int, after: int):
    values = np.random.default_rng(before).uniform(1, 2, before + after).tolist()
    first = LossCurve()
    feed(first, values[:before])
    curve = LossCurve()
    curve.load_state_dict(first.state_dict())
    feed(curve, values[before:], before + 1)
    card = curve.to_card()
    steps = card["step"]
    assert len(steps) < 96
    assert {len(column) for column in card.values()} == {len(steps)}
    assert len(set(np.diff([0, *steps]))) <= 1
    every = steps[0] if steps else 1
    means = [np.mean(values[step - every : step]) for step in steps]
    np.testing.assert_allclose(card["content"], means, rtol=1e-3)
    np.testing.assert_allclose(card["style"], [2 * mean for mean in means], rtol=1e-3)
    assert before + after - (steps[-1] if steps else 0) < max(every, 2)


def test_non_finite_losses_are_left_out():
    curve = LossCurve()
    feed(curve, [1.0, float("nan"), 3.0])
    assert curve.to_card()["step"] == [1, 3]
    assert curve.to_card()["total"] == [3.0, 9.0]


def test_run_writes_the_curve_to_the_card(tmp_path: Path):
    config = make_config(tmp_path, steps=3)
    result = quiet_train(config)
    training = read_card(config.model_path).training
    assert training["curve"]["step"] == [1, 2, 3]
    last = training["curve"]["total"][-1]
    assert last == pytest.approx(result.losses["total"], rel=1e-3)


def test_lines_show_running_means_of_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The means include every step, not only those at which a line is due."""
    config = make_config(tmp_path, steps=1000)
    module = StyleTransferModule(
        config, StyleNetwork(config.network), {"waves": torch.rand(1, 3, 32, 32)}
    )
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    display = ProgressDisplay(seconds_between_lines=30)
    progress = TrainingProgress(TimeBudget(None), display)
    trainer = SimpleNamespace(is_global_zero=True, global_step=0, callback_metrics={})
    progress.on_train_start(trainer, module)
    for step in range(1, 320):
        now += 0.1  # ten steps per second: 300 steps from line to line
        trainer.global_step = step
        loss = torch.tensor(1000.0 if step < 100 else 8.0)
        trainer.callback_metrics = {f"loss/{name}": loss for name in ("content", "style", "tv")}
        progress.on_train_batch_end(trainer, module, None, {}, step)
    first, last = capsys.readouterr().err.splitlines()
    assert "content 1000" in first
    assert "left" not in first  # the first step includes the start of the loaders
    assert "10.00 steps/s" in last
    assert last.endswith("1:10 left")
    assert "content 8.0" in last
    assert "style 8.0" in last

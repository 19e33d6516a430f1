"""Training runs with losses that are not finite."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fast_style.errors import (
    TrainingError,
)
from fast_style.models.model_file import load_model
from fast_style.training.lightning_module import StyleTransferModule
from fast_style.training.trainer import train
from tests.test_training import make_config, quiet_train


class TestNonFiniteLosses:
    @staticmethod
    def spoil(monkeypatch: pytest.MonkeyPatch, bad_steps: set[int]) -> list[dict[str, Any]]:
        """Make the loss of some steps NaN, and record the weights before each step."""
        original = StyleTransferModule.training_step
        seen: list[dict[str, Any]] = []

        def training_step(self: StyleTransferModule, batch: Any, batch_idx: int) -> Any:
            seen.append(
                {k: v.detach().clone() for k, v in self.network.state_dict().items()}
                | {"rate": self.rate_factor}
            )
            loss = original(self, batch, batch_idx)
            return loss * torch.nan if len(seen) - 1 in bad_steps else loss

        monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
        return seen

    @staticmethod
    def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
        return all(torch.equal(one[k], two[k]) for k in one if k != "rate")

    def test_single_bad_step_is_skipped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        seen = self.spoil(monkeypatch, {2})
        result = train(make_config(tmp_path, steps=5, preview_every=0))
        assert result.steps == 5
        assert not self.same(seen[1], seen[2])
        assert self.same(seen[2], seen[3])
        assert not self.same(seen[3], seen[4])
        assert "the loss is not finite; step skipped" in capsys.readouterr().err

    def test_several_bad_steps_roll_back_and_halve_the_rate(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        seen = self.spoil(monkeypatch, {5, 6, 7, 8, 9})
        config = make_config(tmp_path, steps=12, checkpoint_every=4, preview_every=0)
        train(config)
        # Step 4 began with the weights of the checkpoint; 5 bad steps later they are back.
        assert self.same(seen[10], seen[4])
        assert not self.same(seen[9], seen[4])
        assert (seen[9]["rate"], seen[10]["rate"]) == (1.0, 0.5)
        messages = " ".join(capsys.readouterr().err.split())
        assert "5 losses in a row were not finite; back to the weights of step 4" in messages
        assert all(np.isfinite(w).all() for w in load_model(config.model_path).weights.values())

    def test_run_that_never_recovers_ends_with_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.spoil(monkeypatch, set(range(1000)))
        with pytest.raises(TrainingError, match="lower --learning-rate or --style-weight"):
            quiet_train(make_config(tmp_path, steps=1000, preview_every=0))

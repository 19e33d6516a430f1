"""An engine that inverts, for tests of what lies around the network."""

import pytest

from fast_style.inference import renderer

__all__ = ["Inverting", "inverting_engine"]


class Inverting:
    """A fast engine; the real ones are used in test_cli_commands.py."""

    name, device, precision = "inverting", "cpu", "fp32"

    def predict(self, images):
        return 255 - images


@pytest.fixture(autouse=True)
def inverting_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every stylizer of this process invert its pictures."""
    monkeypatch.setattr(renderer, "create_engine", lambda model, options: Inverting())
    monkeypatch.setattr("fast_style.engines.unused_gpu", lambda: None)

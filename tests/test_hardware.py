"""Detection of GPUs."""

import importlib.util

import pytest

import fast_style.engines as engines
from fast_style.engines import unused_gpu
from fast_style.storage import hardware


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_cuda_visible_devices_hides_gpus(monkeypatch, hidden):
    monkeypatch.setattr(hardware, "_CUDA_SIGNS", ("/",))
    monkeypatch.setattr(hardware.sys, "platform", "linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.has_nvidia_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not hardware.has_nvidia_gpu()


def test_unused_gpu_names_the_reason(monkeypatch):
    assert unused_gpu() is None
    monkeypatch.setattr(engines, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(engines, "torch_lacks_cuda", lambda: True)
    assert "built for CPUs only" in unused_gpu()
    monkeypatch.setattr(engines, "torch_lacks_cuda", lambda: False)
    assert unused_gpu() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    assert 'pip install "fast-style[torch]"' in unused_gpu()

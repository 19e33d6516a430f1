"""The choice of device and precision for everything that computes in torch."""

import pytest
import torch

from fast_style.engines import torch_device
from fast_style.engines.torch_device import (
    accelerator_device,
    automatic_precision,
    choose_device,
    native_precisions,
    respect_core_limit,
    use_bf16,
)
from fast_style.errors import EngineError


@pytest.fixture
def machine(monkeypatch):
    """Set which GPUs and native types torch finds."""

    def set_up(*, cuda=False, mps=False, bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: cuda and bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})

    set_up()
    return set_up


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": True}, "cuda")],
)
def test_auto_is_the_gpu_if_there_is_one(machine, gpus, expected):
    machine(**gpus)
    assert choose_device("auto") == accelerator_device("auto") == expected
    assert choose_device("cpu") == accelerator_device("cpu") == "cpu"
    assert choose_device(expected) == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("cuda", "no CUDA GPU"), ("mps", "no Apple GPU"), ("tpu", "no such device: tpu")],
)
def test_missing_device_is_an_error(machine, wanted, message):
    with pytest.raises(EngineError, match=f"{message}.*; choose device auto or cpu"):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("accelerator", "gpus", "expected"),
    [
        ("gpu", {"cuda": True}, "cuda"),
        ("gpu", {"mps": True}, "mps"),
        ("gpu", {}, "cuda"),  # Lightning refuses it
        ("cuda", {}, "cuda"),
        ("mps", {"cuda": True}, "mps"),
        ("tpu", {"cuda": True}, "cpu"),
    ],
)
def test_device_of_an_accelerator(machine, accelerator, gpus, expected):
    machine(**gpus)
    assert accelerator_device(accelerator) == expected


@pytest.mark.parametrize(
    ("device", "here", "expected", "automatic"),
    [
        ("cpu", {}, ["fp32"], "fp32"),
        ("cpu", {"bf16": True}, ["fp32", "bf16"], "bf16"),
        ("cuda", {"cuda": True}, ["fp32", "fp16"], "fp32"),
        ("cuda", {"cuda": True, "bf16": True}, ["fp32", "bf16", "fp16"], "bf16"),
        ("cuda", {"bf16": True}, ["fp32", "fp16"], "fp32"),
        ("mps", {"mps": True, "bf16": True}, ["fp32", "fp16"], "fp32"),
    ],
)
def test_native_precisions_of_a_device(machine, device, here, expected, automatic):
    machine(**here)
    assert native_precisions(device) == expected
    assert automatic_precision(device) == automatic
    assert use_bf16("auto", device) == (automatic == "bf16")


def test_wanted_precision_is_used_where_it_is_emulated(machine):
    assert use_bf16("bf16", "cpu")
    assert not use_bf16("auto", "cpu")
    machine(bf16=True)
    assert not use_bf16("fp32", "cpu")
    with pytest.raises(EngineError, match="bf16 is not computed on mps"):
        use_bf16("bf16", "mps")


def test_this_machine_is_described_without_private_names_of_torch():
    """The real torch has what the module asks of it."""
    assert native_precisions("cpu")[0] == "fp32"
    assert choose_device("auto") in torch_device.DEVICES


@pytest.mark.parametrize(("limit", "threads"), [(None, 6), (8, 6), (3, 3)])
def test_threads_do_not_exceed_a_quota(monkeypatch, limit, threads):
    found = [6]
    monkeypatch.setattr(torch_device, "core_limit", lambda: limit)
    monkeypatch.setattr(torch, "get_num_threads", lambda: found[-1])
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    respect_core_limit()
    assert found[-1] == threads

"""How a training ends when it is told to, when its helpers fail, and when its name is in use."""

import collections
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
from filelock import FileLock

from fast_style.errors import TrainingError, describe
from fast_style.storage import hardware
from fast_style.training import data, interrupts, session
from fast_style.training.data import PhotoCrops, fitting_workers
from fast_style.training.progress_bar import ProgressDisplay
from fast_style.training.trainer import train
from tests.test_training import make_config

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


class Signals(pl.Callback):
    """Sends signals to this process in the middle of the second step."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 1:
            for number in self.numbers:
                os.kill(os.getpid(), number)


class Ended(BaseException):
    """What the handler of a test raises."""


@pytest.fixture
def handled(monkeypatch):
    """Handlers of SIGTERM and SIGHUP as a command has them; checks that they are restored."""

    def raise_ended(number: int, _: object) -> None:
        raise Ended(number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, raise_ended) for number in numbers}
    yield
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert set(after.values()) == {raise_ended}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_saves_and_a_second_ends_at_once(tmp_path, handled, number):
    config = make_config(tmp_path, steps=30)
    result = train(config, quiet=True, callbacks=[Signals(number)])
    assert (result.signal, result.model_path, result.steps) == (number, None, 2)
    saved = config.checkpoint_path.read_bytes()
    again = make_config(tmp_path, steps=30, name="again", checkpoint_every=100)
    raised = KeyboardInterrupt if number == signal.SIGINT else Ended
    with pytest.raises(raised):
        train(again, quiet=True, callbacks=[Signals(number, number)])
    assert not again.checkpoint_path.exists()
    assert config.checkpoint_path.read_bytes() == saved


def test_ignored_hang_up_stays_ignored(tmp_path, handled):
    """As `nohup` wants it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result = train(make_config(tmp_path), quiet=True, callbacks=[Signals(signal.SIGHUP)])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.signal is None


@pytest.fixture
def stuck_loader(monkeypatch):
    """Photos whose third batch never comes."""
    real = PhotoCrops.__getitem__

    def wait_for_ever(self, sample):
        if self.crop_size == 32 and sample >= 4:  # not those that balance the loss
            time.sleep(3600)
        return real(self, sample)

    monkeypatch.setattr(PhotoCrops, "__getitem__", wait_for_ever)


def test_signal_ends_a_training_that_waits_for_photos(tmp_path, handled, stuck_loader, monkeypatch):
    monkeypatch.setattr(interrupts, "GRACE_SECONDS", 0.2)
    began = []

    class Terminate(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            if trainer.global_step == 1:  # one of the next batches never comes
                began.append(time.monotonic())
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    with pytest.raises(Ended):
        train(make_config(tmp_path, steps=30, workers=1), quiet=True, callbacks=[Terminate()])
    assert time.monotonic() - began[0] < 30
    assert multiprocessing.active_children() == []


def test_loader_has_a_time_limit(tmp_path, stuck_loader, monkeypatch):
    for module in (data, session):
        monkeypatch.setattr(module, "WORKER_SECONDS", 2)
    with pytest.raises(TrainingError, match=r"more than 2 seconds for a batch: give --workers 0"):
        train(make_config(tmp_path, steps=30, workers=1), quiet=True)


class TestSharedMemory:
    @pytest.fixture
    def docker(self, monkeypatch):
        """Shared memory as Docker gives it: 64 MB."""
        usage = collections.namedtuple("usage", "total used free")
        asked = []

        def disk_usage(path):
            asked.append(path)
            return usage(64 << 20, 0, 64 << 20)

        monkeypatch.setattr(hardware.sys, "platform", "linux")
        monkeypatch.setattr(hardware.shutil, "disk_usage", disk_usage)
        yield
        assert set(asked) <= {Path("/dev/shm")}

    @pytest.mark.parametrize(
        ("batch", "crop", "devices", "fitting"),
        [(1, 192, 1, 8), (8, 192, 1, 3), (8, 192, 2, 1), (32, 256, 1, 0)],
    )
    def test_as_many_workers_as_it_has_room_for(
        self, tmp_path, docker, batch, crop, devices, fitting
    ):
        config = make_config(tmp_path, batch_size=batch, crop_size=crop)
        assert fitting_workers(8, config, devices) == fitting
        assert fitting_workers(0, config, devices) == 0

    def test_training_goes_on_without_workers(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(data, "shared_memory_left", lambda: 1000)
        result = train(make_config(tmp_path, workers=2))
        assert result.model_path.exists()
        assert "/dev/shm is small: no processes load photos, and not 2" in capsys.readouterr().err

    @pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm")
    def test_this_machine_is_read(self):
        assert 0 <= hardware.shared_memory_left() == shutil.disk_usage("/dev/shm").free


def test_processes_that_cannot_be_started_are_no_bug(tmp_path, monkeypatch):
    """Lightning's own end of such a run raises another error, which says nothing."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter", fail)
    with pytest.raises(TrainingError, match=r"no more threads or processes: .* \(--workers\)"):
        train(make_config(tmp_path, workers=1), quiet=True)


def test_second_training_of_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_LOCK_SECONDS", 0.1)
    config = make_config(tmp_path, overwrite=True)
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "kept").touch()
    refused = pytest.raises(TrainingError, match="another training uses the name 'waves'")
    with FileLock(config.runs / ".waves.lock"), refused:
        train(config, quiet=True)
    assert (config.run_folder / "kept").exists()
    assert train(config, quiet=True).model_path.exists()
    assert not (config.run_folder / "kept").exists()


def test_closed_terminal_does_not_stop_the_work(monkeypatch):
    display = ProgressDisplay(seconds_between_lines=0)

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("fast_style.training.progress_bar.click.echo", fail)
    display.update(0.5, "step 1")
    assert display.quiet
    display.print("more")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        RuntimeError("std::system_error: Resource temporarily unavailable"),
        BlockingIOError(11, "Resource temporarily unavailable"),
    ],
)
def test_limit_of_processes_is_no_bug(error):
    assert "no more threads or processes: raise the limit (ulimit -u" in describe(error)

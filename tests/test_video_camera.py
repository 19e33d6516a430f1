"""The live camera, with a file in its place, and the command `fast-style webcam`."""

import itertools
import sys
import types

import numpy as np
import pytest

from fast_style.errors import VideoError
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.video.camera import Recorder, VirtualCamera, file_frames, live_frames, run_camera
from tests.commands import failure, invoke
from tests.conftest import STYLE
from tests.video_clips import moving_frames, read_clip, write_clip


@pytest.fixture
def clip(workplace):
    return write_clip(workplace / "in.mp4", moving_frames(12))


class Keys:
    """A screen that presses keys at given frames and remembers what it was shown."""

    def __init__(self, pressed):
        self.pressed, self.seen, self.styles, self.closed = pressed, [], [], False

    def show(self, pixels, style):
        self.seen.append(pixels)
        self.styles.append(style)
        return self.pressed.get(len(self.seen), ())

    def close(self):
        self.closed = True


def run(clip, model_file, screen, styles=("one", "two", "three"), **more):
    loaded = []

    def load(name):
        loaded.append(name)
        return Stylizer(model_file)

    frames = file_frames(str(clip))
    shown = run_camera(frames, styles, load, [screen], options=StyleOptions(), steady=1.0, **more)
    return shown, loaded


def test_all_frames_are_shown(clip, model_file):
    screen = Keys({})
    assert run(clip, model_file, screen) == (12, ["one"])
    assert len(screen.seen) == 12
    assert screen.seen[0].shape == (48, 64, 3)
    assert screen.closed


def test_keys_change_the_style_and_quit(clip, model_file):
    screen = Keys({2: ["next"], 4: ["previous"], 6: ["previous"], 9: ["quit"]})
    shown, loaded = run(clip, model_file, screen)
    assert shown == 9
    assert screen.styles == ["one"] * 2 + ["two"] * 2 + ["one"] * 2 + ["three"] * 3
    assert loaded == ["one", "two", "three"]
    assert screen.closed


def test_a_mirror_swaps_left_and_right(clip, model_file):
    options = StyleOptions(strength=0)
    screens = [Keys({}), Keys({})]
    for screen, mirror in zip(screens, (False, True), strict=True):
        run_camera(
            file_frames(str(clip)), ["one"], lambda _: Stylizer(model_file), [screen],
            options=options, steady=0, mirror=mirror,
        )  # fmt: skip
    assert np.array_equal(screens[0].seen[3][:, ::-1], screens[1].seen[3])


def test_a_recording_has_the_times_at_which_frames_were_shown(tmp_path):
    ticks = itertools.chain([10.0], iter([10.0, 10.05, 10.05, 10.3]))
    recorder = Recorder(tmp_path / "out.mkv", clock=lambda: next(ticks))
    for frame in moving_frames(4):
        recorder.show(frame, "one")
    assert not (tmp_path / "out.mkv").exists()
    recorder.close()
    frames, times, _ = read_clip(tmp_path / "out.mkv")
    assert [float(time) for time in times] == [0, 0.05, 0.051, 0.3]
    assert np.abs(frames[3].astype(int) - moving_frames(4)[3]).mean() < 8
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


def test_the_virtual_camera_gets_the_frames(monkeypatch):
    sent, opened = [], []

    class Camera:
        def __init__(self, **size):
            opened.append(size)

        def send(self, pixels):
            sent.append(pixels)

        def close(self):
            opened.append("closed")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", types.SimpleNamespace(Camera=Camera))
    camera = VirtualCamera(rate=15)
    for frame in moving_frames(2):
        camera.show(frame, "one")
    camera.close()
    assert opened == [{"width": 64, "height": 48, "fps": 15}, "closed"]
    assert np.array_equal(sent[1], moving_frames(2)[1])


def test_a_camera_that_is_not_there():
    with pytest.raises(VideoError, match="camera 99 cannot be opened"):
        next(live_frames(99))


def test_the_command_records_a_file_in_place_of_a_camera(workplace, clip):
    result = invoke(
        "webcam", "--style", STYLE, "--camera", "in.mp4", "--record", "out.mkv", "--no-window",
        "--size", 32,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "12 frames shown" in result.err
    assert read_clip(workplace / "out.mkv")[0][0].shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--no-window",), 2, "--no-window needs a place for the frames"),
        (("--no-window", "--record", "out.xyz"), 2, "expected an output that ends in"),
        (("--no-window", "--record", "out.mkv", "--camera", "gone.mp4"), 1, "gone.mp4"),
    ],
)
def test_mistakes_are_told_in_a_sentence(workplace, arguments, code, words):
    assert words in failure("webcam", "--style", STYLE, *arguments, code=code)


def test_without_a_screen_the_ways_out_are_named(workplace, clip, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform in ("win32", "darwin"):
        pytest.skip("has a screen without DISPLAY")
    sentence = failure("webcam", "--style", STYLE, "--camera", "in.mp4")
    assert "give --record FILE or --virtual" in sentence

"""Motion between frames, and pictures that are held still along it."""

import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from fast_style.errors import UsageError
from fast_style.inference.stylizer import Stylizer
from fast_style.video.motion import estimate_motion, to_gray, warp
from fast_style.video.steadying import Steadier
from fast_style.video.video_stylizer import VideoStylizer

HEIGHT, WIDTH = 144, 192


@pytest.fixture(scope="module")
def scene(astronaut):
    return np.asarray(Image.open(astronaut).convert("RGB")).astype(np.float32)


def view(scene, across: float, down: float):
    """A window of the photo, moved by parts of a pixel."""
    matrix = np.array([[1, 0, 60 + across], [0, 1, 40 + down]], np.float32)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(scene, matrix, (WIDTH, HEIGHT), flags=flags)
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def noisy(scene, seed: int, sigma: float = 3.0):
    random = np.random.default_rng(seed)
    still = view(scene, 0, 0) + random.normal(0, sigma, (HEIGHT, WIDTH, 3))
    return np.clip(np.rint(still), 0, 255).astype(np.uint8)


def painted_like(frame, seed: int):
    """A stand-in for a painting: the frame with strokes of its own, other ones for each seed."""
    random = np.random.default_rng(seed)
    strokes = cv2.GaussianBlur(random.normal(0, 100, frame.shape), (0, 0), 1.2)
    return np.clip(frame * 0.7 + 40 + strokes, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("step", [(1.37, 0.61), (-4.2, 2.5), (0.0, -0.4)])
def test_the_flow_of_a_pan_is_exact(scene, step):
    before, now = (to_gray(view(scene, step[0] * t, step[1] * t)) for t in (0, 1))
    motion = estimate_motion(before, now)
    assert not motion.is_cut
    inner = motion.flow[16:-16, 16:-16]
    assert np.abs(inner - step).mean() < 0.15
    assert motion.trust[16:-16, 16:-16].mean() > 0.95


def test_what_comes_into_view_is_not_trusted(scene):
    before, now = to_gray(view(scene, 0, 0)), to_gray(view(scene, 6, 0))
    trust = estimate_motion(before, now).trust
    assert trust[:, -6:].max() == 0
    assert trust[:, 20:-30].mean() > 0.9


def test_noise_is_no_motion(scene):
    motion = estimate_motion(to_gray(noisy(scene, 1)), to_gray(noisy(scene, 2)))
    assert (np.abs(motion.flow).max(axis=2) < 0.01).mean() > 0.95
    assert motion.trust.mean() > 0.95


def test_a_cut_is_found_and_a_pan_is_none(scene):
    other = scene[::-1, ::-1].copy()
    views = [to_gray(view(picture, t, 0)) for picture in (scene, other) for t in range(3)]
    cuts = [estimate_motion(a, b).is_cut for a, b in itertools.pairwise(views)]
    assert cuts == [False, False, True, False, False]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (9, 7), (31, 200), (33, 35)])
def test_small_pictures(size):
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (3, *size, 3)).astype(np.uint8)
    steadier = Steadier()
    for before, now in itertools.pairwise(frames):
        motion = estimate_motion(to_gray(before), to_gray(now))
        assert steadier.apply(now, motion).shape == now.shape


def warping_error(pictures, motions) -> float:
    errors = []
    for last, now, motion in zip(pictures, pictures[1:], motions[1:], strict=False):
        warped = warp(last.astype(np.float32), motion.flow, cv2.INTER_CUBIC)
        errors.append(np.abs(now - warped)[16:-16, 16:-16].mean())
    return float(np.mean(errors[3:]))


def steadied(frames, steady: float = 1.0):
    grays = [to_gray(frame) for frame in frames]
    motions = [None, *(estimate_motion(a, b) for a, b in itertools.pairwise(grays))]
    paintings = [painted_like(frame, seed) for seed, frame in enumerate(frames)]
    steadier = Steadier(steady)
    made = [steadier.apply(p, motion) for p, motion in zip(paintings, motions, strict=True)]
    return paintings, made, motions


def test_strokes_are_carried_along_a_pan(scene):
    frames = [view(scene, 1.3 * t, 0.7 * t) for t in range(12)]
    paintings, made, motions = steadied(frames)
    assert warping_error(made, motions) < 0.3 * warping_error(paintings, motions)


def test_a_still_scene_with_noise_holds_still(scene):
    paintings, made, motions = steadied([noisy(scene, seed) for seed in range(12)])
    assert warping_error(made, motions) < 0.2 * warping_error(paintings, motions)
    last, wanted = (cv2.Laplacian(p[-1], cv2.CV_32F).std() for p in (made, paintings))
    assert last > 0.85 * wanted


def test_less_steadiness_changes_more(scene):
    frames = [noisy(scene, seed) for seed in range(8)]
    errors = []
    for steady in (0.0, 0.5, 1.0):
        _, made, motions = steadied(frames, steady)
        errors.append(warping_error(made, motions))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1.5 * errors[1]


def test_without_steadiness_every_painting_is_returned_as_it_is(scene):
    paintings, made, _ = steadied([view(scene, t, 0) for t in range(3)], steady=0)
    for painting, picture in zip(paintings, made, strict=True):
        assert np.array_equal(painting, picture)


def test_nothing_of_the_last_shot_is_seen_after_a_cut(scene):
    frames = [view(scene, t, 0) for t in range(3)]
    frames += [view(scene[::-1, ::-1].copy(), t, 0) for t in range(2)]
    paintings, made, _ = steadied(frames)
    assert np.array_equal(made[3], paintings[3])
    assert not np.array_equal(made[4], paintings[4])


def test_the_tone_does_not_drift(scene):
    frames = [view(scene, 0.9 * t, 0) for t in range(40)]
    paintings, made, _ = steadied(frames)
    assert abs(float(made[-1].mean()) - float(paintings[-1].mean())) < 1


def test_the_tone_follows_a_slow_fade(scene):
    """A scene that grows brighter by a level a frame must not stay dark for a second."""
    dark = scene // 2
    frames = [dark + np.uint8(t) for t in range(50)]
    paintings, made, _ = steadied(frames)
    lags = [float(p.mean()) - float(m.mean()) for p, m in zip(paintings, made, strict=True)]
    assert max(lags) < 16
    assert lags[-1] < 16


def test_no_specks_grow_over_a_long_shot(scene):
    frames = [view(scene, 0.7 * t, 0.3 * t) for t in range(60)]
    paintings, made, _ = steadied(frames)

    def excess(picture):
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return np.abs(gray.astype(int) - cv2.medianBlur(gray, 5))

    limit = np.quantile(excess(paintings[-1]), 0.998)
    assert (excess(made[-1]) > limit).mean() < 0.004


def test_the_state_continues_exactly(scene):
    frames = [view(scene, 1.1 * t, 0) for t in range(6)]
    grays = [to_gray(frame) for frame in frames]
    motions = [None, *(estimate_motion(a, b) for a, b in itertools.pairwise(grays))]
    paintings = [painted_like(frame, seed) for seed, frame in enumerate(frames)]
    whole, first, second = Steadier(), Steadier(), Steadier()
    expected = [whole.apply(p, m) for p, m in zip(paintings, motions, strict=True)]
    for p, m in zip(paintings[:3], motions[:3], strict=True):
        first.apply(p, m)
    second.restore({name: array.copy() for name, array in first.state().items()})
    for p, m, wanted in zip(paintings[3:], motions[3:], expected[3:], strict=True):
        assert np.array_equal(second.apply(p, m), wanted)


# The class that users call


@pytest.fixture(scope="module")
def stylizer(model_file):
    return Stylizer(model_file)


class Counting(VideoStylizer):
    painted = 0

    def paint(self, prepared):
        picture = super().paint(prepared)
        self.painted += picture is not None
        return picture


@pytest.mark.parametrize("steady", [0.0, 1.0])
def test_repeated_frames_are_painted_once(scene, stylizer, steady):
    video = Counting(stylizer, steady=steady)
    drawings = [view(scene, 9 * t, 0) for t in range(4)]
    made = [video.push(drawings[index // 3]) for index in range(12)]
    assert video.painted == 4
    for index in range(0, 12, 3):
        assert np.array_equal(made[index], made[index + 1])
        assert np.array_equal(made[index], made[index + 2])
    assert not np.array_equal(made[2], made[3])


def test_frames_that_fade_slowly_are_not_taken_for_repeated(scene, stylizer):
    video = Counting(stylizer)
    start = view(scene, 0, 0).astype(np.float32)
    for index in range(20):
        video.push(np.rint(start * (1 - index * 0.002)).astype(np.uint8))
    assert video.painted >= 5


def test_frame_by_frame_is_what_the_stylizer_gives(scene, stylizer):
    video = VideoStylizer(stylizer, steady=0)
    for t in range(3):
        frame = view(scene, t, 0)
        expected = np.asarray(stylizer.stylize(frame))
        assert np.array_equal(video.push(frame), expected)


def test_after_a_reset_nothing_is_remembered(scene, stylizer):
    video = VideoStylizer(stylizer)
    first = [video.push(view(scene, t, 0)) for t in range(3)]
    video.reset()
    second = [video.push(view(scene, t, 0)) for t in range(3)]
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)


def test_frames_may_change_their_size(scene, stylizer):
    video = VideoStylizer(stylizer)
    video.push(view(scene, 0, 0))
    small = view(scene, 0, 0)[:100, :80]
    assert video.push(small).shape == (100, 80, 3)


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_frame_is_refused(stylizer, frame):
    with pytest.raises(UsageError, match="a frame must be a uint8 array"):
        VideoStylizer(stylizer).push(frame)


@pytest.mark.parametrize("steady", [-0.1, 1.1, float("nan")])
def test_steadiness_has_a_range(stylizer, steady):
    with pytest.raises(UsageError, match="steady must be a number from 0 to 1"):
        VideoStylizer(stylizer, steady=steady)

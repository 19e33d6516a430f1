"""What a stylized video keeps of its input, on clips that are made here."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fast_style.errors import UsageError, VideoError
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.video.api import stylize_video
from tests.video_clips import (
    HEIGHT,
    WIDTH,
    convert_clip,
    flat_frames,
    moving_frames,
    read_clip,
    read_packets,
    rotate_clip,
    write_clip,
)


@pytest.fixture(scope="module")
def stylizer(model_file):
    return Stylizer(model_file)


@pytest.fixture
def convert(stylizer, tmp_path):
    return lambda source, name, **more: convert_clip(source, tmp_path / name, stylizer, **more)


def far_apart(one, other) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# Frames and their times


@pytest.mark.parametrize(
    ("name", "time_base"),
    [("v.mp4", (1, 90000)), ("v.mov", (1, 30000)), ("v.mkv", (1, 1000)), ("v.webm", (1, 1000))],
)
def test_every_frame_and_its_time_are_kept_to_the_tick(tmp_path, convert, name, time_base):
    # A variable rate; MP4 always starts at 0.
    times = [7 if time_base[1] == 1000 else 0, 40, 41, 100, 333, 1000, 1001, 1700]
    source = write_clip(
        tmp_path / ("in.mkv" if time_base[1] == 1000 else "in.mp4"),
        moving_frames(8),
        times=times,
        time_base=Fraction(*time_base),
    )
    _, expected, _ = read_clip(source)
    assert expected == [Fraction(time, time_base[1]) for time in times]
    target, result = convert(source, name)
    assert result.frames == 8
    assert read_clip(target)[1] == expected


def test_the_order_and_content_of_frames_are_kept(tmp_path, convert):
    frames = moving_frames(9)
    target, _ = convert(write_clip(tmp_path / "in.mp4", frames), "out.mkv", quality=100)
    for made, frame in zip(read_clip(target)[0], frames, strict=True):
        assert far_apart(made, frame) < 4
        assert min(range(9), key=lambda i: far_apart(made, frames[i])) == next(
            i for i in range(9) if frames[i] is frame
        )


def test_one_frame(tmp_path, convert):
    target, result = convert(write_clip(tmp_path / "in.mp4", moving_frames(1)), "out.mp4")
    assert result.frames == 1
    assert len(read_clip(target)[0]) == 1


def test_a_part_of_a_video_starts_at_zero(tmp_path, convert):
    source = write_clip(tmp_path / "in.mp4", moving_frames(20), sound=("aac", "mono"))
    target, result = convert(source, "out.mp4", start=0.2, end=0.6)
    frames, times, _ = read_clip(target)
    assert result.frames == len(frames) == 10
    assert times[0] == 0
    assert far_apart(frames[0], moving_frames(20)[5]) < 6
    sound = read_packets(target, "audio")
    assert -0.05 < sound[0][0] <= 0.03
    assert 0.3 < sound[-1][0] < 0.45


# Sound, subtitles, chapters


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6)])
def test_sound_is_copied(tmp_path, convert, layout, channels):
    source = write_clip(tmp_path / "in.mp4", moving_frames(25), sound=("aac", layout))
    target, result = convert(source, "out.mp4")
    assert result.notes == ()
    assert read_packets(target, "audio") == read_packets(source, "audio")
    with av.open(str(target)) as made:
        assert made.streams.audio[0].codec_context.channels == channels


def test_a_video_without_sound_stays_so(tmp_path, convert):
    target, _ = convert(write_clip(tmp_path / "in.mp4", moving_frames()), "out.mp4")
    assert read_packets(target, "audio") == []


def test_sound_can_be_left_out(tmp_path, convert):
    source = write_clip(tmp_path / "in.mp4", moving_frames(), sound=("aac", "mono"))
    target, _ = convert(source, "out.mp4", audio="none")
    assert read_packets(target, "audio") == []


def test_sound_that_the_container_does_not_hold_is_converted_and_named(tmp_path, convert):
    source = write_clip(tmp_path / "in.mp4", moving_frames(25), sound=("aac", "stereo"))
    target, result = convert(source, "out.webm")
    assert any("aac" in note and "opus" in note for note in result.notes)
    with av.open(str(target)) as made:
        assert made.streams.audio[0].codec_context.name == "opus"
        samples = sum(frame.samples for frame in made.decode(audio=0))
    assert samples / 48000 == pytest.approx(1.0, abs=0.06)
    assert read_clip(target)[1][0] == 0


LINES = [(0, 300, "First line"), (400, 700, "Zweite Zeile, ä"), (750, 900, "Third")]


def read_lines(path: Path) -> list[tuple[float, str]]:
    lines = []
    with av.open(str(path)) as source:
        stream = source.streams.subtitles[0]
        for packet in source.demux(stream):
            for line in packet.decode() if packet.size else ():
                if line.dialogue:
                    lines.append((float(packet.pts * packet.time_base), line.dialogue.decode()))
    return lines


@pytest.mark.parametrize(
    ("name", "codec", "converted"),
    [("out.mkv", "srt", False), ("out.mp4", "mov_text", True), ("out.webm", "webvtt", True)],
)
def test_subtitles_are_kept(tmp_path, convert, name, codec, converted):
    source = write_clip(tmp_path / "in.mkv", moving_frames(25), subtitles=LINES)
    target, result = convert(source, name)
    assert any("subtitles" in note for note in result.notes) == converted
    assert read_lines(target) == [(start / 1000, text) for start, _, text in LINES]
    with av.open(str(target)) as made:
        stream = made.streams.subtitles[0]
        assert stream.codec_context.name == codec
        assert stream.metadata["language"] == "nob"


def test_chapters_and_titles_are_kept(tmp_path, convert):
    source = write_clip(
        tmp_path / "in.mkv",
        moving_frames(25),
        chapters=[(0, 400, "One"), (400, 1000, "Two")],
        metadata={"title": "A clip"},
    )
    for name in ("out.mkv", "out.mp4"):
        target, _ = convert(source, name)
        with av.open(str(target)) as made:
            chapters = made.chapters()
            titles = [chapter["metadata"]["title"] for chapter in chapters]
            starts = [chapter["start"] * chapter["time_base"] for chapter in chapters]
            assert made.metadata["title"] == "A clip"
        assert titles == ["One", "Two"]
        assert starts == [0, Fraction(2, 5)]


# Pictures


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_video_is_written_upright_and_its_flag_is_gone(tmp_path, convert, degrees):
    frame = moving_frames(1)[0]
    frame[:16, :24] = (255, 0, 0)  # a mark at the top left
    source = write_clip(tmp_path / "in.mp4", [frame] * 3)
    rotate_clip(source, degrees)
    target, result = convert(source, "out.mp4", quality=100)
    frames, _, first = read_clip(target)
    expected = np.rot90(frame, -degrees // 90)
    assert (result.height, result.width) == expected.shape[:2] == frames[0].shape[:2]
    assert far_apart(frames[0], expected) < 6
    assert first.rotation == 0


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("range_", [1, 2])
def test_colours_are_the_same_and_tagged(tmp_path, convert, matrix, range_):
    tags = (matrix, range_, {9: 9}.get(matrix, 1), {9: 14}.get(matrix, 1))
    source = write_clip(
        tmp_path / "in.mp4", flat_frames((200, 60, 30)), colors=tags, pixel_format="yuv444p"
    )
    target, _ = convert(source, "out.mp4", quality=100)
    frames, _, first = read_clip(target)
    assert np.abs(frames[1][24, 32].astype(int) - (200, 60, 30)).max() <= 3
    found = first.colorspace, first.color_range, first.color_primaries, first.color_trc
    assert tuple(map(int, found)) == tags


def test_colours_without_tags_are_those_that_players_assume(tmp_path, convert):
    source = write_clip(tmp_path / "in.mp4", flat_frames((200, 60, 30)), colors=(2, 0, 2, 2))
    target, _ = convert(source, "out.mp4", quality=100)
    frames, _, first = read_clip(target)
    assert np.abs(frames[1][24, 32].astype(int) - (200, 60, 30)).max() <= 3
    assert (int(first.colorspace), int(first.color_range)) == (6, 1)


def test_ten_bits_are_read(tmp_path, convert):
    source = write_clip(
        tmp_path / "in.mkv", flat_frames((30, 120, 210)), pixel_format="yuv420p10le"
    )
    target, _ = convert(source, "out.mp4", quality=100)
    frames, _, first = read_clip(target)
    assert np.abs(frames[1][24, 32].astype(int) - (30, 120, 210)).max() <= 3
    assert first.format.name == "yuv420p"


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_mapped_to_the_standard_range_and_said(tmp_path, convert, transfer):
    # Diffuse white (203 nits), a tenth of it, and black, as PQ and HLG code them.
    codes = {16: (0.581, 0.3567, 0.0), 18: (0.75, 0.3245, 0.0)}[transfer]
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint16)
    for index, code in enumerate(codes):
        frame[:, index * 20 : index * 20 + 24] = round(code * 65535)
    source = write_clip(
        tmp_path / "in.mkv",
        [frame] * 3,
        codec="libx265",
        pixel_format="yuv420p10le",
        colors=(9, 1, 9, transfer),
        options={"x265-params": "log-level=none"},
    )
    target, result = convert(source, "out.mp4", quality=100)
    frames, _, first = read_clip(target)
    white, gray, black = (int(frames[1][24, x].mean()) for x in (8, 30, 55))
    assert 205 <= white <= 245  # neither burnt out nor washed out
    assert 80 <= gray <= 125
    assert black <= 4
    assert int(first.color_trc) == int(first.color_primaries) == int(first.colorspace) == 1
    assert any("HDR" in note for note in result.notes)


def test_odd_sizes(tmp_path, convert):
    source = write_clip(tmp_path / "in.mkv", moving_frames(3, 77, 101), pixel_format="yuv444p")
    target, result = convert(source, "out.webm")
    assert read_clip(target)[0][0].shape == (77, 101, 3)
    target, result = convert(source, "out.mp4", quality=100)
    frames = read_clip(target)[0]
    assert frames[0].shape == (78, 102, 3)
    assert far_apart(frames[0][:77, :101], moving_frames(3, 77, 101)[0]) < 5
    assert any("102x78" in note for note in result.notes)


def test_size_makes_frames_smaller(tmp_path, convert, stylizer):
    source = write_clip(tmp_path / "in.mp4", moving_frames(2))
    target = tmp_path / "small.mp4"
    stylize_video(source, target, stylizer, options=StyleOptions(size=32))
    assert read_clip(target)[0][0].shape == (24, 32, 3)


def test_a_text_file_that_is_called_a_video(tmp_path, convert):
    (tmp_path / "in.mp4").write_text("not a video\n" * 100)
    with pytest.raises(VideoError, match=r"in\.mp4: expected a video"):
        convert(tmp_path / "in.mp4", "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_without_a_frame(tmp_path, convert):
    source = write_clip(tmp_path / "in.mkv", moving_frames(1))
    with av.open(str(source)) as full, av.open(str(tmp_path / "none.mkv"), "w") as empty:
        empty.add_stream_from_template(full.streams.video[0])
        empty.start_encoding()
    with pytest.raises(VideoError, match=r"none.mkv: expected a video"):
        convert(tmp_path / "none.mkv", "out.mp4")


def test_sound_alone_is_no_video(tmp_path, convert):
    source = write_clip(tmp_path / "in.mp4", moving_frames(10), sound=("aac", "mono"))
    with av.open(str(source)) as full, av.open(str(tmp_path / "sound.m4a"), "w", "mp4") as made:
        stream = made.add_stream_from_template(full.streams.audio[0])
        for packet in full.demux(full.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    with pytest.raises(VideoError, match="there is only audio in it"):
        convert(tmp_path / "sound.m4a", "out.mp4")


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_damaged_tail_is_written_as_far_as_it_goes(tmp_path, convert, suffix):
    source = write_clip(
        tmp_path / f"in.{suffix}",
        moving_frames(100),
        options={"g": "10"},
        open_options={"movflags": "faststart"} if suffix == "mp4" else None,
    )
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 6 // 10])
    target, result = convert(source, f"out.{suffix}")
    assert result.damage
    assert 30 <= result.frames < 90
    assert len(read_clip(target)[0]) == result.frames


def test_the_input_is_never_overwritten(tmp_path, convert):
    source = write_clip(tmp_path / "in.mp4", moving_frames(1))
    before = source.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        convert(source, "in.mp4")
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("out.avi", {}, "expected an output that ends in"),
        ("out.webm", {"codec": "h264"}, "expected a codec that webm holds"),
        ("out.mp4", {"start": 2.0, "end": 1.0}, "end must be a time after"),
        ("out.mp4", {"start": 50.0}, "expected a frame between those times"),
        ("out.mp4", {"steady": 2.0}, "steady is 2.0; expected 1 or less"),
        ("out.mp4", {"quality": 101}, "quality is 101; expected 100 or less"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(tmp_path, convert, name, more, words):
    source = write_clip(tmp_path / "in.mp4", moving_frames(2))
    with pytest.raises((UsageError, VideoError), match=words):
        convert(source, name, **more)
    assert not (tmp_path / name).exists()

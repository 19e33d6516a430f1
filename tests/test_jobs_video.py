"""Video jobs: their steps as DBOS calls them, the form, and what is refused."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from fast_style.errors import UsageError, VideoError
from fast_style.inference.stylizer import Stylizer
from fast_style.service.job_form import JobForms
from fast_style.service.jobs import context as contexts
from fast_style.service.jobs.context import WorkerContext
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.spec import JobSpec, VideoJobOptions, stored_options
from fast_style.service.jobs.video_job import VIDEO, VideoJob
from fast_style.service.settings import ServiceSettings
from fast_style.storage.object_store import ObjectStore
from fast_style.video import api, outputs
from fast_style.video.api import stylize_video
from tests.conftest import STYLE
from tests.video_clips import moving_frames, read_clip, write_clip


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    for module in (api, outputs):
        monkeypatch.setattr(module, "PART_FRAMES", 8)


@pytest.fixture
def context(workplace):
    store = ObjectStore(str(workplace / "files"), extra="serve")
    return WorkerContext(store, lambda _: False, 60.0)


def open_job(context, clip, seconds=60, **options):
    chosen = VideoJobOptions(style=STYLE, **options)
    context.store.write(f"job/input/{VIDEO}", clip.read_bytes())
    spec = JobSpec(
        kind="video",
        options=stored_options(chosen),
        inputs="job/input",
        digest="",
        limits={"seconds": seconds},
        max_megapixels=1,
        expiry_seconds=60,
    )
    return VideoJob(context, "job", JobSpec.from_dict(json.loads(json.dumps(spec.to_dict()))))


@pytest.mark.parametrize("count", [20, 16])
def test_any_worker_continues_after_the_last_part_and_makes_the_same_video(
    workplace, context, count
):
    clip = write_clip(workplace / "in.mp4", moving_frames(count), sound=("aac", "mono"))
    number, result = 0, None
    while result is None:
        job = open_job(context, clip)  # another worker for each step
        result = job.advance(number)
        number += 1
        if result is None:
            progress = json.loads(context.store.read("job/progress.json"))
            assert progress == {"done": 8 * number, "total": count, "unit": "frames"}
        job.close()
    assert number == 3
    assert (result["frames"], result["result"]) == (count, "result.mp4")
    Path("job.mp4").write_bytes(context.store.read("job/result.mp4"))
    stylize_video(clip, "whole.mp4", Stylizer(STYLE))
    job_frames, job_times, _ = read_clip(workplace / "job.mp4")
    whole_frames, whole_times, _ = read_clip(workplace / "whole.mp4")
    assert job_times == whole_times
    assert all(np.array_equal(*pair) for pair in zip(job_frames, whole_frames, strict=True))
    assert context.store.names("job/parts") == []
    with closing(open_job(context, clip)) as again:  # its end was not recorded
        assert again.advance(9) == result


def test_a_part_that_was_not_stored_whole_is_done_again(workplace, context):
    clip = write_clip(workplace / "in.mp4", moving_frames(12))
    with closing(open_job(context, clip)) as job:
        assert job.advance(0) is None
    context.store.delete_file("job/parts/00000.json")
    with closing(open_job(context, clip)) as job:
        assert job.advance(0) is None
        assert job.advance(1)["frames"] == 12


def test_what_is_refused(workplace, context, monkeypatch):
    clip = write_clip(workplace / "in.mp4", moving_frames(75))
    with closing(open_job(context, clip, seconds=2)) as job, pytest.raises(VideoError) as error:
        job.advance(0)
    assert str(error.value) == "the video has 3 seconds, and may have 2"
    (workplace / "text.mp4").write_text("no video")
    with closing(open_job(context, workplace / "text.mp4")) as job:
        with pytest.raises(VideoError, match="expected a video"):
            job.advance(0)
        monkeypatch.setattr(contexts, "MAX_ATTEMPTS", 1)
        monkeypatch.setattr("fast_style.service.jobs.video_job.MAX_ATTEMPTS", 1)
        with pytest.raises(VideoError, match="the worker died 1 times at part 1"):
            job.advance(0)


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile in.mp4\n", "#EXTM3U\n#EXTINF:1,\nin.mp4\n#EXT-X-ENDLIST\n"]
)
def test_a_playlist_is_no_video(workplace, context, text):
    """It could name any file of the machine."""
    write_clip(workplace / "in.mp4", moving_frames(3))
    (workplace / "list").write_text(text)
    with pytest.raises(VideoError, match="expected a video"):
        stylize_video("list", "out.mp4", Stylizer(STYLE))


def test_the_form():
    forms = JobForms(ServiceSettings(), JobSettings(database="sqlite:///x", results="x"))
    schema = forms.body([STYLE])["content"]["multipart/form-data"]["schema"]
    properties = schema["oneOf"][2]["properties"]
    assert {"kind", "video", "style", "steady", "codec", "audio", "format"} <= set(properties)
    options = forms.options["video"].parse({"style": STYLE, "steady": "0.5", "format": "webm"})
    assert (options.steady, options.format) == (0.5, "webm")
    with pytest.raises(UsageError, match="steady"):
        forms.options["video"].parse({"style": STYLE, "steady": "2"})
    assert forms.max_bytes >= 1024 * 10**6

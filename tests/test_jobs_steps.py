"""The steps of jobs, called as DBOS calls them, without DBOS."""

import hashlib
import io
import json
import zipfile
from contextlib import closing
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from fast_style.errors import MissingExtraError, UsageError
from fast_style.images import encode_image, read_image
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.service.job_form import JobForms
from fast_style.service.jobs import optimize_job
from fast_style.service.jobs.archives import Limits
from fast_style.service.jobs.batch_job import ARCHIVE, RESULT, BatchJob
from fast_style.service.jobs.context import WorkerContext
from fast_style.service.jobs.optimize_job import OptimizeJob
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.spec import (
    BatchJobOptions,
    JobSpec,
    OptimizeJobOptions,
    stored_options,
)
from fast_style.service.settings import ServiceSettings
from fast_style.storage.object_store import ObjectStore
from tests.conftest import STYLE

FORMS = JobForms(ServiceSettings(), JobSettings(database="sqlite:///x", results="x"))
LIMITS = Limits(photos=10, unpacked=50_000_000)


def small_photos(astronaut, count):
    """Parts of a real photo, as PNG, by name."""
    whole = Image.open(astronaut)
    photos = {}
    for number in range(count):
        file = io.BytesIO()
        whole.crop((40 * number, 30, 40 * number + 64 + number, 94)).save(file, "PNG")
        photos[f"photo-{number}.png"] = file.getvalue()
    return photos


def zipped(photos):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in photos.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


@pytest.fixture
def place(workplace):
    """The context of a worker, and the ids of jobs that it takes to be cancelled."""
    cancelled = set()
    work = WorkerContext(
        ObjectStore(str(workplace / "files"), extra="serve"), cancelled.__contains__, 60.0
    )
    return work, cancelled


def batch_spec(photos, **options):
    chosen = BatchJobOptions(style=STYLE, **options)
    return JobSpec(
        kind="batch",
        options=stored_options(chosen),
        inputs="job/input",
        digest="",
        photos=len(photos),
        limits=asdict(LIMITS),
        max_megapixels=10,
        expiry_seconds=60,
    )


def batch_of(work, photos, **options):
    spec = batch_spec(photos, **options)
    work.store.write(f"job/input/{ARCHIVE}", zipped(photos))
    return BatchJob(work, "job", spec)


def expected(photo, name, **options):
    """Return the stylized photo of the library, encoded."""
    stylized = Stylizer(STYLE).stylize_photo(read_image(photo, name=name), StyleOptions(**options))
    return encode_image(stylized, format="PNG")[0]


class TestBatchJob:
    def test_result_has_the_pictures_of_the_library_and_a_report(self, place, astronaut):
        work, _ = place
        photos = small_photos(astronaut, 3)
        photos["bad.jpg"] = b"this is no picture"
        photos["cut-off.png"] = photos["photo-0.png"][:900]
        batch = batch_of(work, photos, strength=0.5, size=50)
        outcomes, failed = [], 0
        for position in range(len(photos)):
            outcomes.append(batch.stylize(position, failed))
            failed += outcomes[-1]["error"] is not None
        given = batch.bundle(outcomes)
        batch.close()
        assert given == {
            "result": RESULT,
            "media_type": "application/zip",
            "pictures": 3,
            "failed": 2,
        }
        progress = json.loads(work.store.read("job/progress.json"))
        assert progress == {"done": 5, "total": 5, "unit": "photos", "failed": 2}
        with zipfile.ZipFile(io.BytesIO(work.store.read(f"job/{RESULT}"))) as archive:
            assert sorted(archive.namelist()) == sorted([*list(photos)[:3], "report.json"])
            report = json.loads(archive.read("report.json"))
            for name in list(photos)[:3]:
                same = expected(photos[name], name, strength=0.5, size=50)
                assert archive.read(name) == same
        assert [entry["photo"] for entry in report] == list(photos)
        assert [entry["picture"] for entry in report[3:]] == [None, None]
        assert "bad.jpg" in report[3]["error"]
        assert "cut off" in report[4]["error"]
        assert [entry["error"] for entry in report[:3]] == [None] * 3

    def test_exif_is_removed_unless_requested(self, place, astronaut):
        work, _ = place
        exif = Image.Exif()
        exif[0x010E] = "where we live"
        file = io.BytesIO()
        Image.open(astronaut).crop((0, 0, 60, 60)).save(file, "JPEG", exif=exif)
        for keep in (False, True):
            batch = batch_of(work, {"a.jpg": file.getvalue()}, keep_metadata=keep)
            name = batch.stylize(0, 0)["file"]
            assert (b"where we live" in work.store.read(f"job/{name}")) is keep
            batch.close()

    def test_damaged_picture_is_made_again(self, place, astronaut):
        work, _ = place
        photos = small_photos(astronaut, 3)
        batch = batch_of(work, photos)
        outcomes = [batch.stylize(position, 0) for position in range(3)]
        whole = [work.store.read(f"job/{outcome['file']}") for outcome in outcomes]
        # As a power cut leaves them: one short, one gone.
        work.store.write(f"job/{outcomes[0]['file']}", whole[0][:100])
        work.store.delete_file(f"job/{outcomes[2]['file']}")
        batch.bundle(outcomes)
        batch.close()
        with zipfile.ZipFile(io.BytesIO(work.store.read(f"job/{RESULT}"))) as archive:
            assert [archive.read(name) for name in photos] == whole

    def test_photo_at_which_workers_die_is_skipped(self, place, astronaut, monkeypatch):
        work, _ = place
        photos = small_photos(astronaut, 2)

        class Died(BaseException):
            pass

        def dies(*_, **__):
            raise Died

        with monkeypatch.context() as patch:
            patch.setattr(Stylizer, "stylize_photo", dies)
            for _ in range(5):
                with closing(batch_of(work, photos)) as batch, pytest.raises(Died):
                    batch.stylize(0, 0)
        with closing(batch_of(work, photos)) as batch:
            assert "died at it 5 times" in batch.stylize(0, 0)["error"]
            assert batch.stylize(1, 1)["error"] is None

    def test_missing_style_fails_the_job_not_the_photo(self, place, astronaut):
        work, _ = place
        spec = batch_spec({"a": 1})
        work.store.write(f"job/input/{ARCHIVE}", zipped(small_photos(astronaut, 1)))
        spec = replace(spec, options={**spec.options, "style": "gone"})
        with closing(BatchJob(work, "job", spec)) as batch, pytest.raises(Exception, match="gone"):
            batch.stylize(0, 0)


@pytest.fixture
def optimization(place, astronaut):
    """A small optimisation of two sizes, stored; its spec."""
    pytest.importorskip("torch")
    work, _ = place
    photos = list(small_photos(astronaut, 3).values())
    work.store.write("job/input/photo", photos[0])
    for number, painting in enumerate(photos[1:]):
        work.store.write(f"job/input/{optimize_job.PAINTING.format(number)}", painting)
    chosen = OptimizeJobOptions(
        size=64, scales=2, iterations=6, tolerance=0, preview_every=4, weights="2,1", format="png"
    )
    return JobSpec(
        kind="optimize",
        options=stored_options(chosen),
        inputs="job/input",
        digest="",
        paintings=2,
        limits={},
        max_megapixels=10,
        expiry_seconds=60,
    )


def all_steps(work, spec, run=None, number=0):
    """Go on to the end; gives the last run."""
    run = run or OptimizeJob(work, "job", spec, number)
    while not run.advance()["finished"]:
        pass
    return run


def directly(work, spec, iterations=None):
    """The library's own optimisation of the same."""
    from fast_style.optimization.optimizer_loop import Optimization

    photos = [read_image(work.store.read(f"job/input/{name}")) for name in ("photo",)]
    paintings = [
        read_image(work.store.read(f"job/input/{optimize_job.PAINTING.format(number)}"))
        for number in range(2)
    ]
    whole = Optimization(photos[0], paintings, spec.optimize_options().config(), weights=[2.0, 1.0])
    for step in whole.steps():
        if step.iteration == iterations:
            break
    return whole


class TestOptimizeJob:
    def test_steps_are_one_descent(self, place, optimization):
        work, _ = place
        work.checkpoint_seconds = 0.0  # a step for each iteration
        run = all_steps(work, optimization)
        given = run.finish()
        whole = directly(work, optimization)
        assert given["iterations"] == len(whole.history) == 9
        picture = encode_image(whole.best(), format="PNG")[0]
        assert work.store.read("job/result.png") == picture
        progress = json.loads(work.store.read("job/progress.json"))
        assert (progress["done"], progress["total"]) == (9, 9)
        assert [loss["total"] for loss in progress["losses"]] == [
            entry["total"] for entry in whole.history
        ]
        assert [loss["iteration"] for loss in progress["losses"]] == list(range(1, 10))
        assert {loss["width"] for loss in progress["losses"]} == {32, 64}
        assert work.store.names("job/previews") == ["00004.png", "00008.png"]
        at_four = directly(work, optimization, iterations=4)
        preview = encode_image(at_four.best(), format="PNG")[0]
        assert work.store.read("job/previews/00004.png") == preview
        # Only the last two checkpoints stay.
        kept = [name for name in work.store.names("job") if name.startswith("checkpoint")]
        assert len(kept) == 2

    @pytest.mark.parametrize("killed_after", [1, 5, 6, 8])
    def test_continues_from_its_checkpoint(self, place, optimization, killed_after):
        work, _ = place
        work.checkpoint_seconds = 0.0
        first = OptimizeJob(work, "job", optimization, 0)
        for _ in range(killed_after):
            first.advance()
        at_kill = directly(work, optimization, iterations=killed_after)
        second = OptimizeJob(work, "job", optimization, killed_after)
        assert second.advance()["iteration"] == killed_after + 1
        run = all_steps(work, optimization, second)
        given = run.finish()
        assert given["iterations"] == 9
        losses = json.loads(work.store.read("job/progress.json"))["losses"]
        assert [loss["iteration"] for loss in losses] == list(range(1, 10))
        reached = [entry["total"] for entry in at_kill.history]
        assert [loss["total"] for loss in losses[:killed_after]] == reached
        widths = [loss["width"] for loss in losses]
        assert widths == [32] * 6 + [64] * 3
        # The first loss after the kill is about as low as the last before it, unlike that of a new
        # start. At a new size there is nothing to compare with.
        if killed_after not in (6,):
            assert losses[killed_after]["total"] < 1.02 * min(
                loss["total"]
                for loss in losses[:killed_after]
                if loss["width"] == widths[killed_after]
            )

    def test_checkpoint_is_in_full_precision(self, place, optimization):
        work, _ = place
        work.checkpoint_seconds = 0.0
        run = OptimizeJob(work, "job", optimization, 0)
        for _ in range(3):
            run.advance()
        loaded = run._read_checkpoint(2)
        picture = loaded[0]
        best = directly(work, optimization, iterations=3).best_tensor().numpy()
        assert picture.dtype == np.float32
        assert np.array_equal(picture, best)
        assert not np.array_equal(np.round(picture * 255) / 255, picture)

    def test_repeated_step_does_not_count_twice(self, place, optimization):
        """Killed after the checkpoint and before DBOS had taken it down."""
        work, _ = place
        work.checkpoint_seconds = 0.0
        first = OptimizeJob(work, "job", optimization, 0)
        for _ in range(3):
            first.advance()
        run = all_steps(work, optimization, number=2)
        assert run.finish()["iterations"] == 9

    def test_damaged_checkpoint_is_ignored(self, place, optimization):
        work, _ = place
        work.checkpoint_seconds = 0.0
        first = OptimizeJob(work, "job", optimization, 0)
        for _ in range(4):
            first.advance()
        newest = "job/checkpoint-000003.safetensors"
        work.store.write(newest, work.store.read(newest)[:500])
        second = OptimizeJob(work, "job", optimization, 4)
        assert second.advance()["iteration"] == 4
        for name in work.store.names("job"):
            if name.startswith("checkpoint"):
                work.store.write(f"job/{name}", b"")
        assert OptimizeJob(work, "job", optimization, 5).advance()["iteration"] == 1

    def test_last_step_alone_can_be_repeated(self, place, optimization):
        work, _ = place
        work.checkpoint_seconds = 0.0
        run = all_steps(work, optimization)
        run.finish()
        result = work.store.read("job/result.png")
        work.store.delete_file("job/result.png")
        again = OptimizeJob(work, "job", optimization, run.number)
        assert again.finish()["iterations"] == 9
        assert work.store.read("job/result.png") == result

    def test_stops_within_an_iteration(self, place, optimization):
        work, cancelled = place
        run = OptimizeJob(work, "job", optimization, 0)
        cancelled.add("job")
        assert run.advance() == {"iteration": 1, "finished": False}
        cancelled.clear()
        work.stop(0)
        assert run.advance() == {"iteration": 2, "finished": False}
        # A worker that stops leaves a checkpoint, a cancelled job does not.
        kept = [name for name in work.store.names("job") if name.startswith("checkpoint")]
        assert kept == ["checkpoint-000001.safetensors"]

    def test_missing_torch_is_an_error_with_the_extra(self, place, optimization, monkeypatch):
        import sys

        work, _ = place
        monkeypatch.delitem(sys.modules, "fast_style.optimization.optimizer_loop", raising=False)
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(MissingExtraError, match=r"optimize needs torch.*fast-style\[torch\]"):
            OptimizeJob(work, "job", optimization, 0)


class TestForms:
    def test_fields_become_values(self):
        options = FORMS.options["optimize"].parse(
            {"size": "128", "preserve_color": "true", "weights": "", "init": "noise"}
        )
        assert options == OptimizeJobOptions(size=128, preserve_color=True, init="noise")
        assert options.config().size == 128

    @pytest.mark.parametrize(
        ("kind", "fields", "sentence"),
        [
            ("optimize", {"size": "big"}, "whole number"),
            ("optimize", {"learning_rate": ""}, "learning_rate is ''; expected a number"),
            ("optimize", {"keep_metadata": "0"}, "keep_metadata is '0'; expected true or false"),
            ("optimize", {"size": "8"}, "size is '8'; expected a whole number from 32 to 1024"),
            ("optimize", {"style_weight": "nan"}, "style_weight"),
            ("optimize", {"colour": "red"}, "no field 'colour'"),
            ("optimize", {"preserve_color": "maybe"}, "true or false"),
            ("optimize", {"init": "/etc/passwd"}, "not the name of a style"),
            ("optimize", {"init": "../secret.png"}, "not the name of a style"),
            ("optimize", {"weights": "1,zero"}, "numbers above 0"),
            ("optimize", {"vgg": "vgg19"}, "no field"),
            ("optimize", {"quality": "101"}, "expected a whole number from 1 to 100"),
            ("batch", {}, "style is missing"),
            ("batch", {"style": "/models/x.safetensors"}, "not the name of a style"),
            ("batch", {"style": "a", "strength": "2"}, "expected a number from 0 to 1"),
            ("batch", {"style": "a", "format": "exe"}, "format is 'exe'"),
        ],
    )
    def test_wrong_fields_are_refused_with_a_sentence(self, kind, fields, sentence):
        with pytest.raises(UsageError) as caught:
            FORMS.options[kind].parse(fields)
        assert sentence in str(caught.value)
        assert "--" not in str(caught.value)

    def test_spec_of_a_newer_release_is_read(self):
        spec = batch_spec({"a": 1})
        kept = json.loads(json.dumps({**spec.to_dict(), "added_later": 1}))
        kept["options"]["also_later"] = 2
        assert JobSpec.from_dict(kept).batch_options() == spec.batch_options()


def test_digest_of_a_picture_is_that_of_its_file(place, astronaut):
    work, _ = place
    with closing(batch_of(work, small_photos(astronaut, 1))) as batch:
        outcome = batch.stylize(0, 0)
    data = work.store.read(f"job/{outcome['file']}")
    assert outcome["digest"] == hashlib.sha256(data).hexdigest()

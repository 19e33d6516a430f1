"""Background jobs over HTTP with a worker: done, cancelled, failed, expired."""

import io
import json
import time

import pytest
from PIL import Image

pytest.importorskip("dbos")
pytest.importorskip("fastapi")


from fast_style.images import encode_image, read_image
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.service.jobs.client import JobClient
from fast_style.service.jobs.worker import delete_expired
from tests.conftest import STYLE
from tests.job_service import batch_form, optimize_form, running
from tests.test_jobs_api import photos, problem, service_for, settings_for

__all__ = ["photos"]


class TestWithAWorker:
    """The service with its own worker, which does the jobs."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory, model_file):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAST_STYLE_MODELS", str(model_file.parent))
            patch.setenv("OMP_NUM_THREADS", "1")
            yield tmp_path_factory.mktemp("jobs")

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, place):
        with running(service_for(), settings_for(place, worker="own")) as client:
            yield client

    def test_a_batch(self, client, photos):
        photos = {**photos, "bad.jpg": b"this is no picture"}
        taken = client.post(batch_form(photos, STYLE, strength=0.5, format="webp"))
        place = taken.headers["location"]
        job = client.wait(place, "done", "failed")
        assert job["state"] == "done", job
        assert job["progress"] == {"done": 4, "total": 4, "unit": "photos", "failed": 1}
        assert job["created"] <= job["started"] <= job["ended"] < job["expires"]
        result = client.get(job["links"]["result"])
        assert result.headers["content-type"] == "application/zip"
        assert "attachment" in result.headers["content-disposition"]
        files = result.zip
        assert sorted(files) == [f"photo-{n}.webp" for n in range(3)] + ["report.json"]
        stylizer = Stylizer(STYLE)
        for name in list(photos)[:3]:
            painted = stylizer.stylize_photo(read_image(photos[name]), StyleOptions(strength=0.5))
            expected = encode_image(painted, format="WEBP")[0]
            assert files[name.replace("png", "webp")] == expected
        report = json.loads(files["report.json"])
        assert [bool(entry["error"]) for entry in report] == [False, False, False, True]
        assert job["links"]["previews"] == [f"{place}/previews/{n}" for n in (1, 2, 3)]
        second = client.get(f"{place}/previews/2")
        assert second.content == files["photo-1.webp"]
        assert second.headers["content-type"] == "image/webp"
        assert len(client.get(job["links"]["all_previews"]).zip) == 3

    def test_an_optimisation(self, client, photos):
        pytest.importorskip("torch")
        one, two = list(photos.values())[:2]
        taken = client.post(
            optimize_form(one, two, size=64, iterations=8, preview_every=4, tolerance=0)
        )
        place = taken.headers["location"]
        job = client.wait(place, "done", "failed")
        assert job["state"] == "done", job
        assert [loss["iteration"] for loss in job["losses"]] == list(range(1, 9))
        assert job["losses"][-1]["total"] < job["losses"][0]["total"]
        result = client.get(job["links"]["result"])
        assert result.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(result.content)) as picture:
            assert picture.size == (64, 64)
        assert job["links"]["previews"] == [f"{place}/previews/{n}" for n in (4, 8)]
        assert list(client.get(job["links"]["all_previews"]).zip) == ["00004.png", "00008.png"]
        assert client.get(f"{place}/previews/8").content == result.content

    def test_running_job_is_cancelled_and_the_next_begins(self, client, photos):
        pytest.importorskip("torch")
        one, two = list(photos.values())[:2]
        long = client.post(
            optimize_form(one, two, size=64, iterations=1000, preview_every=1, tolerance=0)
        ).headers["location"]
        end = time.monotonic() + 120
        while not client.get(long).json["links"]["previews"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert client.ask("DELETE", long).json["state"] == "cancelled"
        after = client.post(batch_form(dict(list(photos.items())[:1]), STYLE))
        client.wait(after.headers["location"], "done")
        # The worker does one job at a time: the cancelled one has ended.
        reached = len(client.get(long).json["links"]["previews"])
        time.sleep(0.5)
        job = client.get(long).json
        assert (job["state"], len(job["links"]["previews"])) == ("cancelled", reached)
        assert reached < 1000

    def test_failed_job_has_an_error(self, client, astronaut):
        pytest.importorskip("torch")
        thin = io.BytesIO()
        Image.open(astronaut).crop((0, 0, 400, 20)).save(thin, "PNG")
        painting = astronaut.read_bytes()
        taken = client.post(optimize_form(thin.getvalue(), painting, size=64))
        job = client.wait(taken.headers["location"], "failed", "done")
        assert job["state"] == "failed"
        assert "below 32 pixels" in job["error"]
        problem(client.get(job["links"]["self"] + "/result"), 409, "below 32 pixels")

    def test_expired_jobs_are_deleted_and_later_forgotten(self, client, place, photos):
        taken = client.post(batch_form(dict(list(photos.items())[:1]), STYLE))
        path = taken.headers["location"]
        client.wait(path, "done")
        jobs: JobClient = client.app.state.jobs.client
        folder = place / "files" / taken.json["id"]
        assert delete_expired(jobs) == 0
        assert folder.is_dir()
        # A day and a little later.
        real = time.time
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fast_style.service.jobs.client.time.time", lambda: real() + 86_450)
            assert client.get(path).json["state"] == "expired"
            problem(client.get(path + "/result"), 410, "deleted")
            assert delete_expired(jobs) > 0
        assert not folder.exists()
        # The files are deleted, whatever the clock says.
        assert client.get(path).json["state"] == "expired"
        problem(client.get(path + "/result"), 410)
        problem(client.get(path + "/previews/1"), 410)
        # After a month the job is unknown.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fast_style.service.jobs.client.time.time", lambda: real() + 32 * 86_400)
            delete_expired(jobs)
        problem(client.get(path), 404)

    def test_old_inputs_without_a_job_are_deleted(self, client, place):
        import os

        jobs: JobClient = client.app.state.jobs.client
        for name, hours in (("young", 0), ("old", 2)):
            path = place / "files" / name / "input-1" / "photo"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"left by a server that was killed")
            then = time.time() - 3600 * hours
            os.utime(path, (then, then))
        delete_expired(jobs)
        assert (place / "files" / "young").is_dir()
        assert not (place / "files" / "old").exists()

"""Background jobs over HTTP: accepted, described, cancelled, expired; refused, and kept apart."""

import io
import threading
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("dbos")
pytest.importorskip("fastapi")

from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.supervisor import WorkerSupervisor
from fast_style.service.settings import ServiceSettings
from tests.commands import command
from tests.conftest import STYLE
from tests.job_service import batch_form, optimize_form, running
from tests.test_jobs_steps import small_photos, zipped

MEDIA_TYPE = "application/problem+json"


def settings_for(place: Path, **more) -> JobSettings:
    return JobSettings(
        database=f"sqlite:///{place / 'jobs.sqlite'}",
        **{"results": str(place / "files"), "worker": "elsewhere", **more},
    )


def service_for(**more) -> ServiceSettings:
    return ServiceSettings(warm="none", decoders=1, quiet=True, **more)


@pytest.fixture
def photos(astronaut):
    return small_photos(astronaut, 3)


def problem(answer, status, *words):
    assert answer.status == status, answer.content
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json["status"] == status
    for word in words:
        assert word in answer.json["detail"], answer.json
    assert "\n" not in answer.json["detail"]
    return answer


class TestWithoutAWorker:
    """The service alone: jobs are accepted and wait."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory, model_file):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAST_STYLE_MODELS", str(model_file.parent))
            yield tmp_path_factory.mktemp("jobs")

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, place):
        jobs = settings_for(
            place,
            batch_photos=4,
            batch_megabytes=0.5,
            unpacked_megabytes=4,
            optimize_size=256,
            optimize_paintings=2,
        )
        with running(service_for(max_body_megabytes=0.2), jobs) as client:
            yield client

    def test_job_is_accepted_and_waits(self, client, place, photos):
        answer = client.post(batch_form(photos, STYLE, strength=0.5))
        assert answer.status == 202
        job = answer.json
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
        assert (job["state"], job["kind"], job["error"]) == ("queued", "batch", None)
        assert job["options"]["strength"] == 0.5
        assert job["progress"] == {"done": 0, "total": 3, "unit": "photos"}
        assert job["expires"] is None
        assert client.get(job["links"]["self"]).json == job
        (inputs,) = (place / "files" / job["id"]).iterdir()
        assert (inputs / "photos.zip").read_bytes() == zipped(photos)
        result = client.get(f"{answer.headers['location']}/result")
        assert problem(result, 409, "waits").headers["retry-after"]
        assert client.get(f"{job['links']['self']}/previews").zip == {}
        problem(client.get(f"{job['links']['self']}/previews/1"), 404, "no picture 1")

    def test_same_idempotency_key_is_the_same_job(self, client, photos):
        first = client.post(batch_form(photos, STYLE), Idempotency_Key="7f3a")
        again = client.post(batch_form(photos, STYLE), Idempotency_Key='"7f3a"')
        assert (first.status, again.status) == (202, 202)
        assert again.json["id"] == first.json["id"]
        other = client.post(batch_form(photos, STYLE, strength=0.9), Idempotency_Key="7f3a")
        problem(other, 422, "Idempotency-Key", "another body")
        fewer = dict(list(photos.items())[:2])
        problem(client.post(batch_form(fewer, STYLE), Idempotency_Key="7f3a"), 422, "another")
        fresh = client.post(batch_form(photos, STYLE), Idempotency_Key="7f3b")
        assert fresh.json["id"] != first.json["id"]
        assert client.post(batch_form(photos, STYLE)).json["id"] != first.json["id"]
        for wrong in ('""', "k" * 256):
            answer = client.post(batch_form(photos, STYLE), Idempotency_Key=wrong)
            problem(answer, 422, "Idempotency-Key")

    def test_same_idempotency_key_at_once_is_one_job(self, client, place, photos):
        answers = []

        def post():
            answers.append(client.post(batch_form(photos, STYLE), Idempotency_Key="at-once"))

        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = [answer.json["id"] for answer in answers if answer.status == 202]
        assert len(taken) >= 1
        assert len(set(taken)) == 1
        # The others may have been answered with 503.
        assert all(answer.status in (202, 503) for answer in answers)

    def test_waiting_job_is_cancelled(self, client, photos):
        place = client.post(batch_form(photos, STYLE)).headers["location"]
        cancelled = client.ask("DELETE", place)
        assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
        assert cancelled.json["expires"] is not None
        problem(client.get(place + "/result"), 409, "cancelled")
        # Once more, and its files go.
        assert client.ask("DELETE", place).json["state"] == "expired"
        problem(client.get(place + "/result"), 410, "deleted")
        problem(client.get(place + "/previews"), 410)
        assert client.get(place).json["state"] == "expired"

    def test_unknown_jobs_get_404(self, client):
        for path in ("0" * 32, "nonsense", "..%2f..%2fetc", "0" * 31 + "g"):
            for method in ("GET", "DELETE"):
                problem(client.ask(method, f"/v1/jobs/{path}"), 404)
            problem(client.get(f"/v1/jobs/{path}/result"), 404)
            problem(client.get(f"/v1/jobs/{path}/previews"), 404)
            problem(client.get(f"/v1/jobs/{path}/previews/1"), 404)
        problem(client.get("/v1/jobs"), 404, "keys")

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"style": "no-such"}, "no-such"),
            ({"style": "/etc/passwd"}, "not the name"),
            ({"strength": "3"}, "strength is '3'; expected a number from 0 to 1"),
            ({"size": "0"}, "size is '0'; expected a whole number of 1 or more"),
            ({"frobnicate": "1"}, "no field"),
            ({"kind": "film"}, "expected one of optimize, batch, video"),
        ],
    )
    def test_wrong_fields_are_refused(self, client, photos, options, sentence):
        fields = dict(batch_form(photos, STYLE))
        problem(client.post([*{**fields, **options}.items()]), 422, sentence)

    def test_wrong_files_are_refused(self, client, photos):
        whole = batch_form(photos, STYLE)
        problem(client.post(whole[:-1]), 422, "0 files of the name photos")
        problem(client.post([*whole, ("photos", ("b.zip", b"PK"))]), 422, "2 files")
        problem(client.post([*whole, ("photo", ("b.png", b"PK"))]), 422, "no file 'photo'")
        one, two = list(photos.values())[:2]
        problem(client.post(optimize_form(one)), 422, "painting")
        problem(client.post(optimize_form(one, two, two, two)), 400, "more files")
        problem(client.post(optimize_form(one, two, weights="1,2")), 422, "2 weights for 1")
        problem(client.post(optimize_form(one, b"GIF89a nothing")), 422)
        problem(client.post(optimize_form(b"no picture at all", two)), 415)
        problem(client.post(optimize_form(one, two, size=257)), 422, "from 32 to 256")
        problem(client.post(optimize_form(one, two, iterations=1001)), 422, "from 1 to 1000")
        problem(client.post(optimize_form(one, two, init="/etc/hostname")), 422, "not the name")
        problem(client.post(optimize_form(one + bytes(200_000), two)), 413, "photo")

    def test_hostile_archives_are_refused(self, client, place, photos):
        before = len(list((place / "files").iterdir()))
        photo = next(iter(photos.values()))
        for archive, sentence in (
            (b"PK\3\4 and then nothing", "not a ZIP"),
            (zipped({f"{n}.png": photo for n in range(5)}), "more than 4 photos"),
            (zipped({"../../escaped.png": photo}), "name"),
            (deflated({"bomb.bmp": bytes(3_000_000)}), "bomb"),
            (deflated({f"{n}.bmp": bytes(1_040_000) for n in range(4)}), "megabytes unpacked"),
        ):
            fields = [*batch_form({}, STYLE)[:-1], ("photos", ("p.zip", archive))]
            problem(client.post(fields), 422, sentence)
        large = [*batch_form({}, STYLE)[:-1], ("photos", ("p.zip", bytes(600_000)))]
        problem(client.post(large), 413)
        assert len(list((place / "files").iterdir())) == before
        assert client.get("/healthz").status == 200

    def test_optimisation_without_torch_is_refused(self, client, photos, monkeypatch):
        import importlib.util

        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "torch" else real(name)
        )
        one, two = list(photos.values())[:2]
        # A worker elsewhere may have torch, so the service accepts the job.
        answer = client.post(optimize_form(one, two))
        assert answer.status == 202
        client.ask("DELETE", answer.headers["location"])
        from fast_style.errors import UsageError
        from fast_style.service.job_form import JobForms
        from fast_style.service.jobs.spec import OptimizeJobOptions

        with pytest.raises(UsageError, match="need torch"):
            JobForms(service_for(), JobSettings(database="sqlite:///x", results="y"))._optimize_job(
                OptimizeJobOptions(), {}
            )

    def test_openapi_document_describes_the_forms(self, client):
        document = client.get("/openapi.json").json
        body = document["paths"]["/v1/jobs"]["post"]["requestBody"]
        batch, optimize, video = body["content"]["multipart/form-data"]["schema"]["oneOf"]
        assert batch["required"] == ["kind", "style", "photos"]
        assert optimize["required"] == ["kind", "photo", "painting"]
        assert video["required"] == ["kind", "style", "video"]
        assert optimize["properties"]["size"] == {
            "type": "integer",
            "minimum": 32,
            "maximum": 256,
            "default": 256,
            "description": optimize["properties"]["size"]["description"],
        }

    def test_torch_is_not_imported(self, place):
        from tests.test_import_graph import loaded_after

        loaded = loaded_after(
            "from fast_style.service.app import create_app\n"
            "from fast_style.service.settings import ServiceSettings\n"
            "from fast_style.service.jobs.settings import JobSettings\n"
            "from fast_style.service.jobs.client import JobClient\n"
            f"jobs = JobSettings(database='sqlite:///{place}/two.sqlite', results='{place}/two')\n"
            "app = create_app(ServiceSettings(), jobs)\n"
            "JobClient(jobs).close()\n",
            place,
        )
        assert "torch" not in loaded


def deflated(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_jobs_belong_to_their_api_key(workplace, photos):
    keys = workplace / "keys"
    keys.write_text("anna:0123456789abcdef-anna\nbert:0123456789abcdef-bert\n")
    anna, bert = "0123456789abcdef-anna", "0123456789abcdef-bert"
    with running(service_for(keys=keys), settings_for(workplace)) as client:
        problem(client.post(batch_form(photos, STYLE)), 401)
        hers = client.post(batch_form(photos, STYLE), anna, Idempotency_Key="one")
        assert hers.status == 202
        place = hers.headers["location"]
        assert client.get(place, anna).json["state"] == "queued"
        for path in ("", "/result", "/previews", "/previews/1"):
            problem(client.get(place + path, bert), 404)
        problem(client.ask("DELETE", place, bert), 404)
        # The same idempotency key of another client is another one.
        his = client.post(batch_form(photos, STYLE), bert, Idempotency_Key="one")
        assert his.status == 202
        assert his.json["id"] != hers.json["id"]
        second = client.post(batch_form(photos, STYLE), anna)
        listed = client.get("/v1/jobs", anna).json["jobs"]
        assert [job["id"] for job in listed] == [second.json["id"], hers.json["id"]]
        assert [job["id"] for job in client.get("/v1/jobs", bert).json["jobs"]] == [his.json["id"]]


def test_full_queue_refuses_jobs(workplace, photos):
    with running(service_for(), settings_for(workplace, queue_limit=2)) as client:
        first = client.post(batch_form(photos, STYLE), Idempotency_Key="a")
        client.post(batch_form(photos, STYLE))
        full = problem(client.post(batch_form(photos, STYLE)), 503, "2 jobs wait")
        assert int(full.headers["retry-after"]) > 0
        problem(client.post(batch_form(photos, STYLE), Idempotency_Key="b"), 503, "2 jobs wait")
        # One that is there already is no new one.
        again = client.post(batch_form(photos, STYLE), Idempotency_Key="a")
        assert (again.status, again.json["id"]) == (202, first.json["id"])
        metrics = client.get("/metrics").content.decode()
        assert "fast_style_jobs_waiting 2.0" in metrics
        client.ask("DELETE", first.headers["location"])
        assert client.post(batch_form(photos, STYLE)).status == 202
    assert len(list((workplace / "files").iterdir())) == 3


def test_unreachable_database_gets_503(workplace, photos):
    import sqlite3

    jobs = settings_for(workplace)
    with running(service_for(), jobs) as client:
        with sqlite3.connect(jobs.sqlite_file) as connection:
            connection.execute("ALTER TABLE workflow_status RENAME TO gone")
        answer = client.post(batch_form(photos, STYLE))
        problem(answer, 503, "database")
        problem(client.get("/v1/jobs/" + "0" * 32), 503, "database")


@pytest.mark.parametrize(
    "database", ["sqlite:////dev/null/jobs.sqlite", "postgresql://me:secret@127.0.0.1:1/jobs"]
)
def test_worker_without_a_database_fails_with_one_sentence(workplace, database):
    done = command("worker", "--database", database, "--results", workplace / "files")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fast-style: the database ")
    assert "cannot be opened" in last
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_password_is_not_an_argument_of_the_worker(workplace):
    url = "postgresql://me:secret@127.0.0.1:1/jobs"
    settings = JobSettings(database=url, results=str(workplace))
    assert "secret" not in " ".join(WorkerSupervisor(settings)._command)
    assert settings.worker_environment()["FAST_STYLE_DATABASE"] == url

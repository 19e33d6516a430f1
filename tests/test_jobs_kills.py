"""No job is lost if workers and servers are killed at any moment, on SQLite and on PostgreSQL.

A few kills by default; FAST_STYLE_KILLS says how many, such as 20.
"""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("dbos")
pytest.importorskip("fastapi")

from fast_style.images import encode_image, read_image
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.service.jobs.settings import JobSettings
from tests.conftest import STYLE
from tests.job_service import (
    Client,
    Process,
    batch_form,
    free_port,
    kill,
    optimize_form,
    running,
    worker_of,
)
from tests.test_jobs_api import service_for
from tests.test_jobs_steps import small_photos

KILLS = int(os.environ.get("FAST_STYLE_KILLS", "3"))
PATIENCE = 300.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]


@pytest.fixture
def photos(astronaut):
    return small_photos(astronaut, 12)


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def answers(client):
    try:
        return client.get("/healthz").status == 200
    except Exception:
        return False


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def start_worker(log: Path, settings: JobSettings) -> Process:
    """Start a worker on the same database and files."""
    where = ("--database", settings.database, "--results", settings.results)
    return Process(log, "worker", *where, *settings.worker_options())


class Jobs:
    """Some jobs, requested with idempotency keys, and whether they are done."""

    def __init__(self, photos, batches, optimizations):
        one, two = list(photos.values())[:2]
        self.photos = photos
        several = {
            f"batch-{n}": batch_form(photos, STYLE, strength=1 - n / 20) for n in range(batches)
        }
        small = {"size": 64, "iterations": 12, "tolerance": 0, "preview_every": 6}
        for n in range(optimizations):
            several[f"optimize-{n}"] = optimize_form(one, two, seed=n, **small)
        # Optimisations are between the batches, so that they are killed too.
        names = sorted(several, key=lambda name: (int(name.partition("-")[2]), name))
        self.forms = {name: several[name] for name in names}
        self.addresses: dict[str, str] = {}

    def post(self, client: Client) -> None:
        """Request those whose acceptance was not answered yet, as a client would."""
        for name, form in self.forms.items():
            if name not in self.addresses:
                answer = client.post(form, Idempotency_Key=name)
                assert answer.status == 202, answer.content
                self.addresses[name] = answer.headers["location"]

    def moments(self, rng: random.Random, kills: int) -> list[int]:
        """Choose after how many photos and steps to kill."""
        photos = len(self.photos) * sum(name.startswith("batch") for name in self.forms)
        return sorted(rng.sample(range(1, photos), kills))

    def are_done(self, client: Client) -> bool:
        states = [client.get(place).json["state"] for place in self.addresses.values()]
        assert set(states) <= {"queued", "running", "done"}, states
        return len(states) == len(self.forms) and set(states) == {"done"}

    def check(self, client: Client, log: Path, kills: int) -> None:
        """Compare every result with the library, and count how often each photo was done."""
        self.check_results(client)
        begun = Counter(re.findall(r"job (\w+): photo (\d+) of", log.read_text()))
        batches = [place[-32:] for name, place in self.addresses.items() if name[0] == "b"]
        expected = {(job, str(n + 1)) for job in batches for n in range(len(self.photos))}
        assert set(begun) == expected  # none is lost, and there are no others
        # Each kill repeats one photo, or one step of an optimisation, at most.
        again = sum(begun.values()) - len(expected)
        steps = Counter(re.findall(r"job (\w+): step (\d+) from", log.read_text()))
        again += sum(steps.values()) - len(steps)
        assert again <= kills, (begun, steps)

    def check_results(self, client: Client) -> None:
        stylizer = Stylizer(STYLE)
        for name, place in self.addresses.items():
            result = client.get(place + "/result")
            assert result.status == 200, (name, result.content)
            if name.startswith("optimize"):
                job = client.get(place).json
                numbers = [loss["iteration"] for loss in job["losses"]]
                assert numbers == list(range(1, 13)), numbers
                assert read_image(result.content).width == 64
                assert job["losses"][-1]["total"] < job["losses"][0]["total"]
                continue
            files = result.zip
            assert sorted(files) == sorted([*self.photos, "report.json"])
            assert not any(entry["error"] for entry in json.loads(files["report.json"]))
            strength = 1 - int(name[-1]) / 20
            for photo, data in self.photos.items():
                painted = stylizer.stylize_photo(read_image(data), StyleOptions(strength=strength))
                assert files[photo] == encode_image(painted, format="PNG")[0], (name, photo)


def count_begun(log: Path) -> int:
    """Count the photos, and steps of optimisations, that workers have begun."""
    return len(re.findall(r": (photo|step) \d", log.read_text())) if log.exists() else 0


def wait_for_the_moment(number: int, moment: int, log: Path, rng: random.Random) -> None:
    """Wait until a worker has done some work; every fourth time, for a random while only."""
    if number % 4 == 3:
        time.sleep(rng.uniform(0, 2))
    else:
        until(lambda: count_begun(log) >= moment, f"{moment} photos or steps are begun")
        time.sleep(rng.uniform(0, 0.03))


def test_kills_of_server_and_worker_on_sqlite_lose_nothing(workplace, photos):
    rng = random.Random(8)
    log, port = workplace / "log", free_port()
    jobs = Jobs(photos, batches=2 + KILLS // 4, optimizations=1)
    arguments = ["serve", "--port", port, "--warm", "none", "--decoders", 1, "--quiet"]
    arguments += ["--database", f"sqlite:///{workplace / 'jobs.sqlite'}"]
    arguments += ["--results", workplace / "files", "--checkpoint-seconds", 0.1]
    client = Client(f"http://127.0.0.1:{port}")
    server = Process(log, *arguments)
    try:
        for number, moment in enumerate(jobs.moments(rng, KILLS)):
            until(lambda: answers(client), "the service answers")
            jobs.post(client)
            worker = until(partial(worker_of, server), "there is a worker")
            wait_for_the_moment(number, moment, log, rng)
            if number % 3 == 1:
                server.kill()
                until(partial(gone, worker), "the worker goes with it")
                server = Process(log, *arguments)
            else:
                kill(worker)
        until(lambda: answers(client), "the service answers")
        jobs.post(client)
        until(lambda: jobs.are_done(client), "all jobs are done")
        jobs.check(client, log, KILLS)
    finally:
        worker = worker_of(server) if server.alive else None
        server.end()
    assert worker is None or gone(worker)
    text = log.read_text()
    assert "Traceback" not in text, text[-3000:]


def test_stopped_worker_continues_exactly_after_restart(workplace, photos):
    log = workplace / "log"
    settings = JobSettings(
        database=f"sqlite:///{workplace / 'jobs.sqlite'}",
        results=str(workplace / "files"),
        worker="elsewhere",
    )
    jobs = Jobs(photos, batches=3, optimizations=0)
    with running(service_for(), settings) as client:
        jobs.post(client)
        first = start_worker(log, settings)
        until(lambda: "photo 5 of" in log.read_text(), "the work has begun")
        assert first.stop() == 143
        text = log.read_text()
        assert "stopping" in text
        assert not jobs.are_done(client)
        second = start_worker(log, settings)
        try:
            until(lambda: jobs.are_done(client), "all jobs are done")
        finally:
            second.stop()
        jobs.check(client, log, 0)  # after SIGTERM nothing is done twice


def test_second_worker_on_sqlite_is_refused(workplace, monkeypatch):
    from fast_style.errors import JobError
    from fast_style.service.jobs.worker_lease import acquire_lease

    settings = JobSettings(
        database=f"sqlite:///{workplace / 'jobs.sqlite'}", results=str(workplace)
    )
    first = acquire_lease(settings)
    with pytest.raises(JobError, match="another worker uses the database"):
        acquire_lease(settings, wait_seconds=0.1)
    first.close()
    acquire_lease(settings, wait_seconds=0.1).close()


def postgres_programs() -> dict[str, str]:
    """Return the paths of initdb and postgres; empty if there are none."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    found = {name: shutil.which(name, path=path) for name in ("initdb", "postgres")}
    return {} if None in found.values() else found  # type: ignore[return-value]


@pytest.fixture
def postgres(tmp_path) -> Iterator[str]:
    """The URL of a PostgreSQL server that is started for this test."""
    programs = postgres_programs()
    if not programs:
        pytest.skip("PostgreSQL is not installed")
    as_user, folder = [], tmp_path / "postgres"
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        runuser = shutil.which("runuser")
        if runuser is None or subprocess.run(["id", "postgres"], capture_output=True).returncode:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        as_user = [runuser, "-u", "postgres", "--"]
        # Only root can read the folders above tmp_path.
        folder = Path(f"/tmp/fast-style-postgres-{os.getpid()}")
        folder.mkdir(mode=0o700)
        shutil.chown(folder, "postgres")
    else:
        folder.mkdir()
    port = free_port()
    data = folder / "data"
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": 100,
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    server = None
    try:
        initialize = [programs["initdb"], "-D", str(data), "-U", "jobs", "-A", "trust", "-N"]
        subprocess.run(
            [*as_user, *initialize], check=True, capture_output=True, timeout=120, cwd=folder
        )
        with open(tmp_path / "postgres.log", "wb") as log:
            server = subprocess.Popen(
                [*as_user, programs["postgres"], "-D", str(data), *options],
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        until(lambda: listens(port), "PostgreSQL listens")
        yield f"postgresql://jobs@127.0.0.1:{port}/fast_style"
    finally:
        if server is not None:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_kills_of_two_workers_on_postgresql_lose_nothing(workplace, photos, postgres):
    rng = random.Random(9)
    log = workplace / "log"
    settings = JobSettings(
        database=postgres,
        results=(workplace / "files").as_uri(),
        worker="elsewhere",
        checkpoint_seconds=0.1,
    )
    jobs = Jobs(photos, batches=2 + KILLS // 4, optimizations=1)
    with running(service_for(), settings) as client:
        jobs.post(client)
        workers = [start_worker(log, settings) for _ in range(2)]
        try:
            for number, moment in enumerate(jobs.moments(rng, KILLS)):
                wait_for_the_moment(number, moment, log, rng)
                index = rng.randrange(2)
                workers[index].kill()
                # Not at once, so that the other one takes over.
                time.sleep(rng.uniform(0, 1))
                workers[index] = start_worker(log, settings)
            until(lambda: jobs.are_done(client), "all jobs are done")
            jobs.check(client, log, KILLS)
            # The job of a worker that is not started again is done by the other.
            last = Jobs(photos, batches=2, optimizations=0)
            last.forms = {f"last-{name}": form for name, form in last.forms.items()}
            before = count_begun(log)
            last.post(client)
            until(lambda: count_begun(log) > before + 3, "the work has begun")
            workers.pop().kill()
            until(lambda: last.are_done(client), "the other one has taken over")
        finally:
            for worker in workers:
                worker.end()
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


def test_a_video_survives_the_death_of_its_worker(workplace):
    pytest.importorskip("av")
    pytest.importorskip("cv2")
    from fast_style.video.api import stylize_video
    from tests.video_clips import moving_frames, read_clip, write_clip

    clip = write_clip(workplace / "in.mp4", moving_frames(540), sound=("aac", "mono"))
    log, port = workplace / "log", free_port()
    arguments = ["serve", "--port", port, "--warm", "none", "--decoders", 1, "--quiet"]
    arguments += ["--database", f"sqlite:///{workplace / 'jobs.sqlite'}"]
    arguments += ["--results", workplace / "files"]
    client = Client(f"http://127.0.0.1:{port}")
    server = Process(log, *arguments)
    try:
        until(lambda: answers(client), "the service answers")
        form = [("kind", "video"), ("style", STYLE), ("video", ("in.mp4", clip.read_bytes()))]
        place = client.post(form).headers["location"]
        until(lambda: ": part 2" in log.read_text(), "the second part is begun")
        kill(until(partial(worker_of, server), "there is a worker"))
        job = client.wait(place, "done", "failed")
        assert job["state"] == "done", job["error"]
        assert job["progress"] == {"done": 540, "total": 540, "unit": "frames"}
        result = client.get(place + "/result")
        assert result.headers["content-type"] == "video/mp4"
        (workplace / "job.mp4").write_bytes(result.content)
        begun = [int(number) for number in re.findall(r": part (\d)", log.read_text())]
        assert begun.count(1) == 1
        assert len(begun) <= 4
    finally:
        worker = worker_of(server) if server.alive else None
        server.end()
        if worker is not None:
            kill(worker)
    stylize_video(clip, workplace / "whole.mp4", Stylizer(STYLE))
    for made, whole in zip(
        read_clip(workplace / "job.mp4")[0], read_clip(workplace / "whole.mp4")[0], strict=True
    ):
        assert (made == whole).all()

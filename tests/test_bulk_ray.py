"""`fast-style bulk` on Ray: the same outputs, and nothing is lost if processes are killed."""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.one_process import list_process_tree
from fast_style.bulk.output_names import picture_id
from fast_style.bulk.ray_runner import ActorPool, choose_pool
from fast_style.errors import BulkError
from tests.bulk_folders import MANIFEST, bulk, make_photos, outputs, records, times_done
from tests.commands import CHECKOUT, environment
from tests.conftest import STYLE

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds Ray's processes in /proc")

PICTURES = int(os.environ.get("FAST_STYLE_PICTURES", "300"))
PATIENCE = 500
"""Timeout in seconds, for busy machines."""

RAY = ("--cpus-per-actor", 2, "--workers", 2, "-s", STYLE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start a cluster of one machine with two cores, which takes seconds."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("ray") / "log.txt"
    # A token of its own, for the cluster and for the commands that join it.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    start = ["start", "--head", "--block", "--num-cpus=2", f"--port={port}"]
    start += ["--include-dashboard=false", "--disable-usage-stats"]
    start += ["--object-store-memory=100000000"]
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *start],
            env={**environment(), **token},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + PATIENCE
        while b"Ray runtime started" not in log.read_bytes() and time.monotonic() < until:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        # Ray has its own mind about what a machine's address is.
        with pytest.MonkeyPatch.context() as patch:
            for name, value in token.items():
                patch.setenv(name, value)
            yield re.findall(rf"[\w.:]+:{port}\b", log.read_text())[0]
    finally:
        kill_all(process)


def kill_all(process):
    """Kill a process and its children at once, like a power cut."""
    if process.poll() is not None:
        return
    tree = list_process_tree(process.pid)
    for number in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait(60)
    until = time.monotonic() + 60
    while any(map(alive, tree)) and time.monotonic() < until:
        time.sleep(0.05)


def alive(number):
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


@contextlib.contextmanager
def started(*args):
    # A signal may come between the opening of a file and the `with` that closes it.
    strict = ("-W", "error", "-W", "ignore::ResourceWarning")
    process = subprocess.Popen(
        [sys.executable, *strict, "-m", "fast_style", "bulk", *map(str, args)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process.stdout, process.stderr:
        try:
            yield process
        finally:
            kill_all(process)


def finished(*args):
    """Run to the end, and return the exit code and the lines on stderr."""
    with started(*args) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert out == ""
    return process.returncode, err.splitlines()


def wait_for(process, count, folder="out"):
    until = time.monotonic() + PATIENCE
    while len(records(Path(folder))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.005)


def test_outputs_equal_those_without_ray(cluster, workplace, astronaut):
    photos = make_photos(workplace / "photos", 60, astronaut)
    photos[7].write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    Path("list.csv").write_text("path\n" + "".join(f"{path}\n" for path in photos))
    code, (error, last) = finished("list.csv", "-o", "out", *RAY, "--address", cluster)
    assert code == 3  # and there is nothing of Ray's among the lines
    assert str(photos[7]) in error
    assert last.startswith("59 stylized")
    bulk("list.csv", "-o", "plain", "-s", STYLE, code=3)
    assert outputs(workplace / "out") == outputs(workplace / "plain")
    assert len(outputs(workplace / "out")) == 59
    for name in ("failures.csv", "settings.json"):
        ours, theirs = (workplace / one / MANIFEST / name for one in ("out", "plain"))
        assert ours.read_bytes() == theirs.read_bytes()
    assert set(times_done(workplace / "out").values()) == {1}


def test_killed_worker_loses_nothing(cluster, workplace, astronaut):
    photos = make_photos(workplace / "photos", 240, astronaut)
    # What runs that were killed have left, on Ray and here, is not held against the pictures.
    begun = workplace / "out" / MANIFEST / "begun"
    begun.mkdir(parents=True)
    (begun / "0.0").touch()
    Path("one.csv").write_text(f"path\n{photos[0]}\n")
    bulk("one.csv", "-o", "one", "-s", STYLE)
    style = records(Path("one"))[0]["style"]
    for photo in photos:
        identity = picture_id(str(photo), style).hex()
        for times in range(3):
            (begun / f"{identity}.{times}").touch()
    with started("photos", "-o", "out", *RAY, "--address", cluster) as process:
        wait_for(process, 60)
        (part,) = (workplace / "out" / MANIFEST / "parts").iterdir()
        worker = int(part.stem.split("-")[-2])
        os.kill(worker, signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
    assert out == ""
    assert process.returncode == 0, err
    assert err.splitlines()[-1].startswith("240 stylized")
    assert len(list(part.parent.iterdir())) == 2
    done = times_done(workplace / "out")
    assert len(done) == len(outputs(workplace / "out")) == 240
    assert sum(done.values()) == 240
    assert not begun.exists()


def test_terminated_run_continues(cluster, workplace, astronaut):
    make_photos(workplace / "photos", 400, astronaut)
    with started("photos", "-o", "out", *RAY, "--address", cluster) as process:
        wait_for(process, 40)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "fast-style: terminated"
    assert "Traceback" not in err
    noted = len(times_done(workplace / "out"))
    assert 40 <= noted < 400
    summary = bulk("photos", "-o", "out", "-s", STYLE)
    assert summary["done_before"] >= noted  # Ray's workers end a moment after the command
    assert len(outputs(workplace / "out")) == 400
    assert set(times_done(workplace / "out").values()) == {1}


def test_errors_of_ray_are_one_sentence(cluster, workplace, astronaut):
    make_photos(workplace / "photos", 2, astronaut)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{closed.getsockname()[1]}"
    three = ("photos", "-o", "out", "-s", STYLE, "--address", cluster, "--actors", 3)
    code, (line,) = finished(*three)
    assert code == 1
    assert "fewer --actors" in line
    code, (line,) = finished("photos", "-o", "out", *RAY, "--address", nowhere)
    assert code == 1
    assert f"Ray cannot be reached at {nowhere}" in line


@pytest.mark.slow
def test_run_killed_twice_is_completed(workplace, astronaut):
    """Kill all processes at once, Ray's too, at seeded moments; then run to the end.

    Of 300 pictures by default; FAST_STYLE_PICTURES says how many, such as 2000.
    """
    photos = make_photos(workplace / "photos", PICTURES, astronaut)
    broken = photos[PICTURES // 40 :: PICTURES // 4]
    for photo in broken:
        photo.write_bytes(photo.read_bytes()[:200])
    random = np.random.default_rng(8)
    noted = {}
    for earliest in (PICTURES // 20, PICTURES // 2):
        with started("photos", "-o", "out", *RAY, "--runner", "ray") as process:
            wait_for(process, earliest + int(random.integers(0, PICTURES // 4)))
        before = noted
        noted = times_done(workplace / "out")
        there = {name: (workplace / "out" / name).stat() for name in outputs(workplace / "out")}
        assert len(noted) > len(before)
        assert noted.keys() <= there.keys()
        # In flight: two blocks at once, each with two threads that write.
        assert len(there) - len(noted) <= 4
    code, lines = finished("photos", "-o", "out", *RAY, "--runner", "ray")
    assert code == 3, lines
    completed = times_done(workplace / "out")
    assert len(completed) == PICTURES - len(broken)
    assert set(completed.values()) == {1}
    assert outputs(workplace / "out").keys() == completed.keys()
    for name in noted:
        now = (workplace / "out" / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (there[name].st_ino, there[name].st_mtime_ns)
    bulk("photos", "-o", "plain", "-s", STYLE, code=3)
    assert outputs(workplace / "out") == outputs(workplace / "plain")


class TestChoosePool:
    def chosen(self, cpu, gpu=0, **options):
        settings = {"actors": None, "cores": None, "device": "auto", "local": True, **options}
        return choose_pool({"CPU": cpu, "GPU": gpu}, **settings)

    def test_one_actor_a_gpu_or_four_cores(self):
        assert self.chosen(2) == ActorPool(1, True, 2, 0)
        assert self.chosen(16) == ActorPool(4, True, 4, 0)
        assert self.chosen(64, 8) == ActorPool(8, True, 4, 1)
        assert self.chosen(8, 4) == ActorPool(4, True, 2, 1)
        assert self.chosen(64, 8, device="cpu") == ActorPool(16, True, 4, 0)

    def test_chosen_actors_and_cores(self):
        assert self.chosen(16, actors=2) == ActorPool(2, True, 4, 0)
        assert self.chosen(4, actors=4) == ActorPool(4, True, 1, 0)
        assert self.chosen(16, cores=8) == ActorPool(2, True, 8, 0)
        assert self.chosen(16, local=False) == ActorPool(4, False, 4, 0)

    def test_too_many_actors_are_refused(self):
        for asked in ({"actors": 5, "cores": 4}, {"cores": 20}):
            with pytest.raises(BulkError, match="fewer --actors"):
                self.chosen(16, **asked)
        with pytest.raises(BulkError, match="no GPU"):
            self.chosen(16, device="cuda")


def test_processes_claim_different_cores():
    """Each process with all its threads is bound to its own cores until it ends."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("there is one core only")
    code = (
        "import os, sys, threading; from fast_style.bulk.worker import claim_cores\n"
        "threading.Thread(target=sys.stdin.read, daemon=True).start()\n"
        "claim_cores(1)\n"
        "sets = {tuple(os.sched_getaffinity(int(t))) for t in os.listdir('/proc/self/task')}\n"
        "print(*sorted(sets), flush=True); os.read(0, 1)"
    )

    def claimant():
        return subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    first, second = claimant(), claimant()
    try:
        lines = {one.stdout.readline().strip() for one in (first, second)}
        assert len(lines) == 2
        assert lines <= {f"({core},)" for core in cores}
        gone = first.stdout
        first.kill()
        first.wait()
        gone.close()
    finally:
        for one in (first, second):
            one.kill()
            one.wait()
            for stream in (one.stdin, one.stdout):
                stream.close()

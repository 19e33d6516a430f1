"""The manifest of `fast-style bulk`: however a run ends, the next one continues exactly there."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fast_style.bulk.manifest import FAILURES, Manifest, ManifestPart, new_run, open_output
from fast_style.bulk.output_names import picture_id
from fast_style.bulk.worker import BulkPicture, BulkWorker, BulkWorkerConfig
from fast_style.options import EngineOptions, OutputOptions, PipelineOptions, StyleOptions
from tests.bulk_folders import MANIFEST, bulk, make_photos, outputs, photos, records, times_done
from tests.commands import CHECKOUT, environment
from tests.conftest import STYLE

__all__ = ["photos"]

fsspec = pytest.importorskip("fsspec")
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class TestManifest:
    """However much of the manifest is lost, it never reports a picture as done that is not."""

    def test_incomplete_line_is_ignored(self, photos, workplace):
        bulk("photos", "-o", "out", "-s", STYLE)
        (part,) = (workplace / "out" / MANIFEST / "parts").iterdir()
        whole = part.read_bytes()
        random = np.random.default_rng(1)
        before = outputs(workplace / "out")
        for cut in (0, *random.integers(1, len(whole), 4), len(whole) - 1):
            for other in part.parent.iterdir():
                other.unlink()
            part.write_bytes(whole[:cut])
            summary = bulk("photos", "-o", "out", "-s", STYLE)
            assert summary["done_before"] == whole[:cut].count(b"\n")
            assert summary["done"] == 9 - summary["done_before"]
            assert outputs(workplace / "out") == before

    def test_damaged_lines_are_ignored(self, photos, workplace):
        bulk("photos", "-o", "out", "-s", STYLE)
        (part,) = (workplace / "out" / MANIFEST / "parts").iterdir()
        lines = part.read_bytes().splitlines(keepends=True)
        lines[2] = b"\0" * len(lines[2].rstrip()) + b"\n"
        lines[5] = b'["path"]\n'
        part.write_bytes(b"".join(lines))
        assert bulk("photos", "-o", "out", "-s", STYLE)["done"] == 2

    def test_temporary_files_of_a_killed_run_are_deleted(self, photos, workplace):
        bulk("photos", "-o", "out", "-s", STYLE)
        left = workplace / "out" / MANIFEST / "tmp" / ".fast-style-0123.tmp"
        left.write_bytes(b"half")
        bulk("photos", "-o", "out", "-s", STYLE)
        assert not left.exists()
        assert not list((workplace / "out").rglob("*.tmp"))

    def test_many_parts_are_merged(self, photos, workplace, monkeypatch):
        bulk("photos", "-o", "out", "-s", STYLE)
        parts = workplace / "out" / MANIFEST / "parts"
        (part,) = parts.iterdir()
        for number, line in enumerate(part.read_bytes().splitlines(keepends=True)):
            (parts / f"20200101T000000-{number}.jsonl").write_bytes(line)
        part.unlink()
        monkeypatch.setattr("fast_style.bulk.manifest._MANY_PARTS", 3)
        before = sorted(map(str, records(workplace / "out")))
        assert bulk("photos", "-o", "out", "-s", STYLE)["done"] == 0
        assert len(list(parts.iterdir())) == 1
        assert sorted(map(str, records(workplace / "out"))) == before
        assert bulk("photos", "-o", "out", "-s", STYLE)["done_before"] == 9

    def test_object_store_gets_complete_parts(self):
        memory = fsspec.filesystem("memory")
        store = open_output("memory://bulk-parts")
        part = ManifestPart(store, "run")
        try:
            threads = [
                threading.Thread(
                    target=lambda n=n: [
                        part.add({"path": f"{n}-{i}", "style": "s"}) for i in range(50)
                    ]
                )
                for n in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert store.names(f"{MANIFEST}/parts") == []
            part.flush()
            part.add({"path": "last", "style": "s", "error": "x"})
            part.close()
            assert len(store.names(f"{MANIFEST}/parts")) == 2
            assert len(Manifest(store).read().failed) == 201
        finally:
            memory.rm("/", recursive=True)


class TestDeadWorkers:
    """A block is sent again when the worker that had it has died."""

    @pytest.fixture
    def worker(self, workplace, model_file):
        config = BulkWorkerConfig(
            output=str(workplace / "out"),
            run=new_run(),
            styles={STYLE: [(model_file.read_bytes(), 1.0)]},
            style_options=StyleOptions(),
            output_options=OutputOptions(),
            engine_options=EngineOptions(),
            pipeline_options=PipelineOptions(),
        )
        worker = BulkWorker(config)
        yield worker
        worker.close()

    @pytest.fixture
    def block(self, photos):
        return [BulkPicture(str(path), path.name, STYLE) for path in photos]

    def test_block_that_is_sent_again_is_not_done_again(self, worker, block, workplace):
        results = worker.run_guarded("0", block)
        assert [result.source for result in results] == [picture.source for picture in block]
        assert not any(result.error for result in results)
        # It was done, and its results were lost on their way.
        assert worker.run_guarded("0", block) == results
        assert set(times_done(workplace / "out").values()) == {1}

    def test_recorded_pictures_are_not_done_again(self, worker, block, workplace):
        worker.manifest.mark_begun("0")  # by a worker that died, after four pictures
        list(worker.run(block[:4]))
        results = worker.run_guarded("0", block)
        assert len(results) == 9
        assert not any(result.error for result in results)
        assert set(times_done(workplace / "out").values()) == {1}
        assert len(outputs(workplace / "out")) == 9

    def test_picture_that_kills_workers_is_given_up(self, worker, block, workplace):
        poison = picture_id(block[3].source, STYLE).hex()
        for deaths in range(3):
            worker.manifest.mark_begun("0")
            if deaths:  # the first time, nobody knew which it was
                worker.manifest.mark_begun(poison)
        results = worker.run_guarded("0", block)
        (failed,) = (result for result in results if result.error)
        assert failed.source == block[3].source
        assert "died" in failed.error
        assert len(outputs(workplace / "out")) == 8
        assert len(worker.manifest.read().failed) == 1


@posix
class TestKilled:
    """Commands in processes of their own, killed after a number of pictures."""

    @pytest.fixture
    def many(self, workplace, astronaut):
        return make_photos(workplace / "photos", 150, astronaut)

    def started(self, *more, path=CHECKOUT):
        # A signal may come between the opening of a file and the `with` that closes it.
        strict = ("-W", "error", "-W", "ignore::ResourceWarning")
        return subprocess.Popen(
            [
                *(sys.executable, *strict, "-m", "fast_style", "bulk", "photos", "-o", "out"),
                *("-s", STYLE, "--runner", "local", "--workers", "2", *more),
            ],
            env=environment() | {"PYTHONPATH": f"{path}{os.pathsep}{CHECKOUT}"},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end_at(self, count, number):
        process = self.started()
        until = time.monotonic() + 120
        while len(records(Path("out"))) < count and time.monotonic() < until:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
        return process.returncode, err

    def test_run_killed_twice_is_completed(self, many, workplace):
        random = np.random.default_rng(5)
        for earliest in (10, 70):
            moment = earliest + int(random.integers(0, 30))
            code, _ = self.end_at(moment, signal.SIGKILL)
            assert code == -signal.SIGKILL
            noted = times_done(workplace / "out")
            there = {name: (workplace / "out" / name).stat() for name in outputs(workplace / "out")}
            assert noted.keys() <= there.keys()
            # Written, and not noted yet: one a thread that writes.
            assert len(there) - len(noted) <= 2
        summary = bulk("photos", "-o", "out", "-s", STYLE)
        assert summary["done_before"] == len(noted)
        done = times_done(workplace / "out")
        assert len(done) == 150
        assert set(done.values()) == {1}
        assert outputs(workplace / "out").keys() == done.keys()
        for name in noted:
            now = (workplace / "out" / name).stat()
            assert (now.st_ino, now.st_mtime_ns) == (there[name].st_ino, there[name].st_mtime_ns)
        bulk("photos", "-o", "plain", "-s", STYLE)
        assert outputs(workplace / "out") == outputs(workplace / "plain")

    def test_photo_that_kills_the_process_is_given_up(self, photos, workplace):
        """A crash in a codec ends the process, and no exception can be caught."""
        (workplace / "site").mkdir()
        (workplace / "site" / "sitecustomize.py").write_text(
            "import io, os\n"
            "opened = io.open\n"
            "def open(file, *args, **kwargs):\n"
            "    if str(file).endswith('0004.jpg'):\n"
            "        os.kill(os.getpid(), 9)\n"
            "    return opened(file, *args, **kwargs)\n"
            "io.open = __builtins__['open'] = open\n"
        )
        ends = []
        for _ in range(4):
            process = self.started("--retry-failed", path=workplace / "site")
            _, err = process.communicate(timeout=60)
            ends.append(process.returncode)
        assert ends == [-signal.SIGKILL] * 3 + [3], err
        (failure,) = csv.DictReader((workplace / "out" / FAILURES).read_text().splitlines())
        assert failure["path"].endswith("0004.jpg")
        assert "the process that worked on it died, 3 times" in failure["reason"]
        assert len(outputs(workplace / "out")) == 8
        assert set(times_done(workplace / "out").values()) == {1}
        # Nothing is held against it once that run has come to its end.
        assert not (workplace / "out" / MANIFEST / "begun").exists()
        assert bulk("photos", "-o", "out", "-s", STYLE, "--retry-failed")["done"] == 1

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted_run_continues(self, number, code, many, workplace):
        ended, err = self.end_at(20, number)
        assert ended == code
        assert "the same command continues from here" in err
        assert "Traceback" not in err
        assert not list((workplace / "out" / MANIFEST / "tmp").iterdir())
        noted = times_done(workplace / "out")
        assert 20 <= len(noted) < 150
        assert outputs(workplace / "out").keys() == noted.keys()
        assert bulk("photos", "-o", "out", "-s", STYLE)["done"] == 150 - len(noted)

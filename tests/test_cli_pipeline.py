"""`fast-style stylize` on several pictures: reading, network and writing overlap, within bounds."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.cli import file_pipeline as pipeline_files
from fast_style.cli.file_pipeline import FilePipeline
from fast_style.inference import pipeline as pipeline_module
from fast_style.inference import renderer as renderer_module
from fast_style.inference.pipeline import PictureTask, default_workers
from fast_style.options import StyleOptions
from tests.commands import environment, failure, invoke
from tests.conftest import STYLE

posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


class Inverting:
    name, device, precision = "inverting", "cpu", "fp32"

    def predict(self, images):
        return 255 - images


class Watched:
    """A replacement for `Stylizer` that records the threads that call it, and can be slow."""

    max_megapixels, engine, styles = 250.0, Inverting(), 1

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.threads = seconds, set()

    def stylize_photo(self, photo, options, guides=None):
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        return photo


class InFlightCounter:
    """Counts the pictures in flight, between reading and writing, and their pixels."""

    def __init__(self, monkeypatch, read_seconds=None, write_seconds=0.0) -> None:
        self._lock = threading.Lock()
        self.now, self.most, self.most_pixels = {}, 0, 0
        self.alone, self.threads, self.at_least = set(), set(), {}
        read, write = pipeline_files.read_image, pipeline_files.write_image

        def counted_read(source, **options):
            with Image.open(source) as image:
                pixels = image.width * image.height
            with self._lock:
                self.threads.add(threading.get_ident())
                self.now[Path(source).stem] = pixels
                self.most = max(self.most, len(self.now))
                self.most_pixels = max(self.most_pixels, sum(self.now.values()))
                if len(self.now) > 1:
                    self.alone -= set(self.now)
                else:
                    self.alone |= set(self.now)
            time.sleep((read_seconds or {}).get(Path(source).stem, 0.0))
            return read(source, **options)

        def counted_write(photo, target, **options):
            self.threads.add(threading.get_ident())
            time.sleep(write_seconds)
            notes = write(photo, target, **options)
            with self._lock:
                del self.now[Path(target).stem]
            return notes

        monkeypatch.setattr(pipeline_files, "read_image", counted_read)
        monkeypatch.setattr(pipeline_files, "write_image", counted_write)


@pytest.fixture(autouse=True)
def cwd(workplace, monkeypatch) -> Path:
    monkeypatch.setattr(renderer_module, "create_engine", lambda model, options: Inverting())
    monkeypatch.setattr("fast_style.engines.unused_gpu", lambda: None)
    return workplace


@pytest.fixture
def photos(cwd, astronaut) -> Path:
    """Create a folder of crops of a photo in many sizes, formats and modes."""
    folder = cwd / "in"
    folder.mkdir()
    random = np.random.default_rng(1)
    with Image.open(astronaut) as image:
        for i, suffix in enumerate((".jpg", ".png", ".webp", ".jpg", ".gif", ".tif", ".jpg") * 2):
            left, top = random.integers(0, 100, 2)
            width, height = random.integers(20, 150, 2)
            crop = image.crop((left, top, left + width, top + height))
            if suffix == ".png":
                crop.putalpha(crop.convert("L"))
            crop.save(folder / f"{i:02}{suffix}")
    return folder


def jobs(count: int, sizes: dict[int, tuple[int, int]] | None = None) -> list[PictureTask]:
    Path("in").mkdir()
    for i in range(count):
        Image.new("RGB", (sizes or {}).get(i, (20, 10)), (i, 0, 0)).save(f"in/{i:02}.png")
    return [PictureTask(f"in/{i:02}.png", f"out/{i:02}.png") for i in range(count)]


def names(results) -> list[str]:
    return [Path(result.task.source).stem for result in results]


def own_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("fast-style")]


def without_times(result):
    rows = [{**row, "seconds": 0, "output": ""} for row in result.json["images"]]
    return rows, re.sub(r"\d+\.\d\d s", "", result.err)


@pytest.mark.parametrize("options", [(), ("--size", "30"), ("--preserve-color", "--quality", "70")])
def test_workers_do_not_change_the_results(photos, options):
    args = ("stylize", "in", "-s", STYLE, *options, "--json")
    plain = invoke(*args, "-o", "plain", "--workers", "0")
    assert plain.code == 0
    files = {path.name: path.read_bytes() for path in Path("plain").iterdir()}
    assert len(files) == 14
    for workers in ("1", "3"):
        overlapping = invoke(*args, "-o", "other", "--workers", workers)
        assert overlapping.code == 0
        rows, err = without_times(overlapping)
        assert (rows, err.replace("other", "plain")) == without_times(plain)
        assert {path.name: path.read_bytes() for path in Path("other").iterdir()} == files
        shutil.rmtree("other")


@pytest.mark.parametrize("workers", ["0", "1", "3"])
def test_failed_pictures_do_not_stop_the_others(photos, workers, monkeypatch):
    predict = Inverting.predict

    def fail(self, images):
        if images.shape[1:3] == (9, 7):
            raise MemoryError
        return predict(self, images)

    monkeypatch.setattr(Inverting, "predict", fail)
    (photos / "03.jpg").write_bytes((photos / "00.jpg").read_bytes()[:200])  # to read
    Image.new("RGB", (7, 9)).save(photos / "06.jpg")  # to stylize
    Path("out/09.webp").mkdir(parents=True)  # to write
    args = ("stylize", "in", "-s", STYLE, "-o", "out", "--json", "--workers", workers)
    result = invoke(*args)
    assert result.code == 3
    rows = result.json["images"]
    assert [Path(row["input"]).name for row in rows] == sorted(os.listdir("in"))
    failed = {Path(row["input"]).stem: row["error"] for row in rows if "error" in row}
    assert set(failed) == {"03", "06", "09"}
    assert failed["03"].startswith("in/03.jpg is cut off")
    assert failed["06"].startswith("in/06.jpg: there is not enough memory")
    assert "could not be written" in failed["09"]
    errors = [line for line in result.lines if line.startswith("fast-style: in/")]
    assert [line.removeprefix("fast-style: ")[:5] for line in errors] == ["in/03", "in/06", "in/09"]
    assert result.lines[-1] == "11 stylized, 3 failed"
    assert len([path for path in Path("out").iterdir() if path.is_file()]) == 11


def test_results_come_in_the_order_of_the_tasks(cwd, monkeypatch):
    InFlightCounter(monkeypatch, read_seconds={"00": 0.2, "03": 0.1})
    outcomes = list(FilePipeline(Watched(), StyleOptions(), workers=4).run(jobs(8)))
    assert names(outcomes) == [f"{i:02}" for i in range(8)]
    assert outcomes[0].seconds > 0.2 > outcomes[1].seconds  # without the time it waited
    assert not own_threads()


@pytest.mark.parametrize(("workers", "most"), [(1, 3), (4, 6)])
def test_number_of_pictures_in_flight_is_limited(cwd, monkeypatch, workers, most):
    # Writing is what takes longest, so that pictures pile up before it if they can.
    flight, stylizer = InFlightCounter(monkeypatch, write_seconds=0.02), Watched()
    for outcome in FilePipeline(stylizer, StyleOptions(), workers=workers).run(jobs(20)):
        assert outcome.error is None
    assert flight.most == most
    assert not flight.now
    assert stylizer.threads == {threading.get_ident()}
    assert threading.get_ident() not in flight.threads
    assert len(flight.threads) <= workers


def test_slow_network_limits_the_pictures_in_flight(cwd, monkeypatch):
    flight = InFlightCounter(monkeypatch)
    assert len(list(FilePipeline(Watched(0.01), StyleOptions(), workers=2).run(jobs(12)))) == 12
    assert 2 <= flight.most <= 4


def test_megapixels_in_flight_are_limited(cwd, monkeypatch):
    monkeypatch.setattr(pipeline_module, "MEGAPIXELS_EACH", 0.001)  # 6000 pixels for all
    flight = InFlightCounter(monkeypatch, write_seconds=0.005)
    work = jobs(16, sizes={5: (200, 100), 6: (60, 60), 7: (60, 60), 11: (500, 500)})
    assert names(FilePipeline(Watched(), StyleOptions(), workers=4).run(work)) == names(
        FilePipeline(Watched(), StyleOptions(), workers=0).run(work)
    )
    assert flight.most > 2
    assert flight.alone >= {"05", "11"}

    shutil.rmtree("in")
    flight = InFlightCounter(monkeypatch, write_seconds=0.005)
    assert len(list(FilePipeline(Watched(), StyleOptions(), workers=4).run(jobs(16)))) == 16
    assert 4 * 200 <= flight.most_pixels <= 6000


def test_megapixels_in_flight_are_limited_for_any_number_of_threads(cwd, monkeypatch):
    monkeypatch.setattr(pipeline_module, "MEGAPIXELS_ON_CPU", 0.001)
    flight = InFlightCounter(monkeypatch, write_seconds=0.005)
    assert len(list(FilePipeline(Watched(), StyleOptions(), workers=16).run(jobs(20)))) == 20
    assert 400 <= flight.most_pixels <= 1000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_a_batch_of_large_photos_stays_within_its_memory(workplace):
    (workplace / "in").mkdir()
    Image.new("RGB", (5472, 3648), (90, 120, 60)).save(workplace / "in" / "0.jpg")
    for number in range(1, 12):
        shutil.copy(workplace / "in" / "0.jpg", workplace / "in" / f"{number}.jpg")
    script = (
        "import atexit, resource; from fast_style.cli.main import main; "
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)); main()"
    )
    options = ["--style", STYLE, "--strength", "0", "--workers", "16", "-o", "out"]
    done = subprocess.run(
        [sys.executable, "-c", script, "stylize", "in", *options],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((workplace / "out").iterdir())) == 12
    # 240 megapixels in all; 96 of them at 10 MB each, and the process itself.
    assert 200_000 < int(done.stdout) < 1_400_000


def test_resized_pictures_count_at_their_new_size(cwd, monkeypatch):
    monkeypatch.setattr(pipeline_module, "MEGAPIXELS_EACH", 0.02)
    flight = InFlightCounter(monkeypatch, write_seconds=0.02)
    Path("in").mkdir()
    for i in range(8):
        Image.new("RGB", (400, 200)).save(f"in/{i}.jpg")  # 80 000 pixels, and 5000 of them read
    work = [PictureTask(f"in/{i}.jpg", f"out/{i}.jpg") for i in range(8)]
    outcomes = list(FilePipeline(Watched(), StyleOptions(size=100), workers=2).run(work))
    assert {(one.width, one.height) for one in outcomes} == {(100, 50)}
    assert flight.most > 2


@pytest.mark.parametrize(
    ("shape", "size", "read"),
    [
        ((400, 300), 100, (100, 75)),
        ((300, 400), 100, (75, 100)),
        ((401, 399), 100, (101, 100)),
        ((399, 200), 100, (200, 100)),
        ((400, 3), 100, (200, 2)),  # a quarter would leave nothing of three pixels
        ((900, 500), 100, (113, 63)),
        ((8000, 9), 100, (1000, 2)),
        ((150, 90), 100, (150, 90)),
        ((50, 30), 100, (50, 30)),
        ((90, 70), 1, (12, 9)),
    ],
)
def test_jpegs_are_decoded_at_reduced_size(cwd, monkeypatch, shape, size, read):
    seen, read_image = [], pipeline_files.read_image

    def noted(*args, **options):
        photo = read_image(*args, **options)
        seen.append((photo.width, photo.height))
        return photo

    monkeypatch.setattr(pipeline_files, "read_image", noted)
    Image.new("RGB", shape, (200, 100, 50)).save("a.jpg")
    Image.new("RGB", shape, (200, 100, 50)).save("b.png")
    (jpeg, png) = FilePipeline(Watched(), StyleOptions(size=size), workers=0).run(
        [PictureTask("a.jpg", "out/a.png"), PictureTask("b.png", "out/b.png")]
    )
    assert seen == [read, shape]
    assert max(read) >= min(size, max(shape))
    assert max(jpeg.width, jpeg.height) == max(png.width, png.height) == min(size, max(shape))


def test_reduced_decoding_gives_the_same_picture(cwd, astronaut):
    for size in ("60", "128", "200"):
        args = ("stylize", astronaut, "-s", STYLE, "--strength", "0", "--size", size, "-o")
        assert invoke(*args, f"{size}.png").code == 0
        with Image.open(f"{size}.png") as out, Image.open(astronaut) as photo:
            whole = photo.convert("RGB").resize(out.size, Image.Resampling.LANCZOS)
            difference = np.asarray(out, float) - np.asarray(whole, float)
        assert np.mean(difference**2) < 255**2 / 10**3.2, size  # 32 dB


def test_single_picture_starts_no_thread(photos, monkeypatch):
    def refuse(self):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert invoke("stylize", "in/00.jpg", "-s", STYLE, "-o", "a.jpg", "--workers", "5").code == 0
    assert invoke("stylize", "in", "-s", STYLE, "-o", "out", "--workers", "0").code == 0


@pytest.mark.parametrize("number", ["-1", "65", "many"])
def test_invalid_workers_are_refused(photos, number):
    assert "--workers" in failure("stylize", "in", "-s", STYLE, "--workers", number, code=2)


def test_default_workers(monkeypatch):
    for cores, on_cpu, on_gpu in ((1, 1, 1), (2, 1, 2), (8, 4, 8), (96, 8, 16)):
        monkeypatch.setattr(pipeline_module, "usable_cores", lambda cores=cores: cores)
        assert (default_workers("cpu"), default_workers("cuda")) == (on_cpu, on_gpu)


def test_closing_early_leaves_no_thread_and_no_partial_file(cwd, monkeypatch):
    flight = InFlightCounter(monkeypatch, write_seconds=0.02)
    outcomes = FilePipeline(Watched(), StyleOptions(), workers=3).run(jobs(40))
    next(outcomes)
    outcomes.close()
    assert not own_threads()
    assert len(list(Path("out").iterdir())) < 40
    assert all(path.suffix == ".png" for path in Path("out").iterdir())
    assert flight.most <= 5


def test_broken_pipe_ends_the_run(cwd, monkeypatch):
    def gone(*args, **options):
        raise BrokenPipeError

    monkeypatch.setattr(pipeline_files, "write_image", gone)
    with pytest.raises(BrokenPipeError):
        list(FilePipeline(Watched(), StyleOptions(), workers=2).run(jobs(10)))
    assert not own_threads()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_among_files(photos, astronaut):
    os.mkfifo("pipe.jpg")
    data = astronaut.read_bytes()
    feeder = threading.Thread(target=lambda: Path("pipe.jpg").write_bytes(data))
    feeder.start()
    args = ("in/00.jpg", "pipe.jpg", "in/03.jpg", "-s", STYLE, "-o", "out", "--size", "100")
    result = invoke("stylize", *args, "--workers", "2", "--json")
    feeder.join()
    assert result.code == 0, result.err
    assert [Path(row["input"]).name for row in result.json["images"]] == [
        "00.jpg",
        "pipe.jpg",
        "03.jpg",
    ]

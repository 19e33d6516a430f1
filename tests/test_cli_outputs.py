"""Where `stylize` writes: outputs of one name, pipes and descriptors."""

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from fast_style.cli import collisions
from fast_style.storage.atomic_write import descriptor_of, replace_file
from tests.commands import invoke
from tests.conftest import STYLE
from tests.fast_engine import inverting_engine

__all__ = ["inverting_engine"]

posix = pytest.mark.skipif(os.name != "posix", reason="pipes and descriptors of POSIX")


@pytest.fixture(autouse=True)
def cwd(workplace: Path) -> Path:
    return workplace


def picture(path, color=(10, 100, 200)) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), color).save(path)
    return path


def stylize(*args):
    return invoke("stylize", *args, "--style", STYLE)


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*.*"))


def color_of(path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return image.getpixel((0, 0))


class TestOutputsOfOneName:
    def test_two_suffixes_are_kept_in_the_names_as_in_bulk(self):
        for name in ("in/a.jpg", "in/a.png", "in/b.png"):
            picture(name)
        result = stylize("in", "-o", "out", "--format", "png")
        assert result.code == 0
        assert files("out") == ["a.jpg.png", "a.png.png", "b.png"]
        assert result.lines[0] == (
            "fast-style: note: outputs of one name are told apart: in/a.jpg is written to "
            "out/a.jpg.png, since another picture would be out/a.png too, and 1 more such"
        )
        summary = invoke("bulk", "in", "-o", "all", "-s", STYLE, "--format", "png", "--json")
        assert summary.code == 0
        assert [name for name in files("all") if "fast-style" not in name] == files("out")

    def test_one_name_in_several_folders_is_numbered(self):
        colors = [(10, 100, 200), (200, 100, 10), (0, 0, 0)]
        for folder, color in zip("xyz", colors, strict=True):
            picture(f"{folder}/logo.png", color)
        picture("z/logo-2.png", (255, 0, 255))
        result = stylize("x", "y", "z", "-o", "out")
        assert result.code == 0
        assert files("out") == ["logo-2.png", "logo-3.png", "logo-4.png", "logo.png"]
        assert color_of("out/logo.png") == (245, 155, 55)
        assert color_of("out/logo-2.png") == (0, 255, 0)  # of the file of that name
        assert color_of("out/logo-3.png") == (55, 155, 245)
        assert color_of("out/logo-4.png") == (255, 255, 255)

    def test_beside_the_pictures(self):
        picture("a.jpg")
        picture("a.png")
        assert stylize("a.jpg", "a.png", "--format", "webp").code == 0
        assert files(".") == [f"a-{STYLE}.jpg.webp", f"a-{STYLE}.png.webp", "a.jpg", "a.png"]

    @pytest.mark.parametrize("names", [("A.png", "a.png"), ("\u00fc.png", "u\u0308.png")])
    def test_case_counts_where_the_file_system_tells_it_apart(self, names, monkeypatch):
        for folder, name in zip("xy", names, strict=True):
            picture(f"{folder}/{name}")
        monkeypatch.setattr(collisions, "_folds_case", lambda folder: False)
        result = stylize("x", "y", "-o", "out")
        assert files("out") == sorted(names)
        assert "told apart" not in result.err
        monkeypatch.setattr(collisions, "_folds_case", lambda folder: True)
        result = stylize("x", "y", "-o", "folded")
        assert len({name.casefold() for name in files("folded")}) == 2
        assert "told apart" in result.err

    @pytest.mark.skipif(sys.platform != "linux", reason="ext4, overlayfs and tmpfs tell case apart")
    def test_file_system_is_asked(self):
        Path("out").mkdir()
        assert not collisions._folds_case("out")
        assert not collisions._folds_case("missing/folder")
        assert files(".") == []


@posix
class TestStreams:
    @pytest.fixture
    def photo(self, astronaut, cwd):
        return Path(shutil.copy(astronaut, cwd / "photo.jpg"))

    def through_pipe(self, name: str, *args: object) -> bytes:
        """Stylize into a pipe, named by its descriptor as shells do for >(command)."""
        reader, writer = os.pipe()
        received = bytearray()

        def drain():
            while block := os.read(reader, 1 << 16):
                received.extend(block)

        thread = threading.Thread(target=drain)
        thread.start()
        try:
            result = stylize("photo.jpg", "-o", name.format(writer), *args)
        finally:
            os.close(writer)
            thread.join(30)
            os.close(reader)
        assert result.code == 0, result.err
        return bytes(received)

    @pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
    def test_process_substitution(self, photo, name):
        if name.startswith("/proc") and sys.platform != "linux":
            pytest.skip("no /proc")
        assert stylize(photo, "-o", "plain.jpg").code == 0
        assert self.through_pipe(name) == Path("plain.jpg").read_bytes()

    def test_format_of_a_pipe(self, photo):
        assert self.through_pipe("/dev/fd/{}", "--format", "png").startswith(b"\x89PNG")

    def test_named_pipe(self, photo):
        os.mkfifo("pipe.png")
        received: list[bytes] = []
        thread = threading.Thread(target=lambda: received.append(Path("pipe.png").read_bytes()))
        thread.start()
        assert stylize(photo, "-o", "pipe.png").code == 0
        thread.join(30)
        assert received[0].startswith(b"\x89PNG")
        assert not Path("pipe.png").is_file()

    def test_dev_stdout(self, photo):
        result = stylize(photo, "-o", "/dev/stdout")
        assert result.code == 0
        assert result.out_bytes == stylize(photo, "-o", "-").out_bytes
        assert "both go to stdout" in stylize(photo, "-o", "/dev/stdout", "--json").err

    def test_open_descriptors_are_written_to_where_they_stand(self):
        """A file that is opened anew, or replaced, would lose what is in it."""
        Path("log").write_bytes(b"before")
        with open("log", "ab") as log:
            replace_file(Path(f"/dev/fd/{log.fileno()}"), b" and after")
        assert Path("log").read_bytes() == b"before and after"

    def test_other_paths_are_no_descriptors(self):
        assert descriptor_of("/dev/stderr") == 2
        for path in ("/dev/null", "/dev/fd/", "/dev/fd/x", "dev/fd/1", "/dev/stdout.jpg"):
            assert descriptor_of(path) is None


def test_unknown_suffix_of_a_file_is_still_refused(astronaut):
    assert "no suffix" in stylize(astronaut, "-o", "out").err

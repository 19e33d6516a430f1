"""One way to search folders, for all commands: links, hidden folders, pipes, files left out."""

import os
from pathlib import Path

import pytest
from PIL import Image

from fast_style.bulk.listing import list_pictures
from fast_style.errors import TrainingDataError, UsageError
from fast_style.images.folder import LeftOut, find_pictures
from fast_style.training.inputs import find_photos, read_paintings
from fast_style.training.predictor.inputs import find_paintings
from tests.commands import failure, invoke
from tests.conftest import STYLE
from tests.fast_engine import inverting_engine

__all__ = ["inverting_engine"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


def picture(path: str) -> Path:
    made = Path(path)
    made.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (10, 100, 200)).save(made)
    return made


def by_stylize(folder: str) -> list[str]:
    errors: list[OSError] = []
    found = find_pictures(folder, recursive=True, on_error=errors.append)
    return [str(path.relative_to(folder)) for path in found]


def by_bulk(source: str) -> list[str]:
    listing = list_pictures(source, "")
    return [listing.name(index) for index in range(len(listing))]


SEARCHES = {
    "stylize": by_stylize,
    "bulk": by_bulk,
    "bulk with a glob": lambda folder: by_bulk(f"{folder}/**"),
    "photos": lambda folder: [str(p.relative_to(folder)) for p in find_photos(Path(folder))],
    "paintings": lambda folder: [
        str(p.relative_to(folder)) for p in find_paintings(Path(folder), "--style-image", [])
    ],
}


@pytest.fixture(params=SEARCHES)
def search(request, workplace):
    return SEARCHES[request.param]


def test_links_to_a_folder_above_end_and_count_nothing_twice(search):
    """Two such links make 2^40 paths for a search that follows every link."""
    picture("in/a.jpg")
    picture("in/deep/b.jpg")
    Path("in/deep/one").symlink_to("..", target_is_directory=True)
    Path("in/deep/two").symlink_to(Path("in").absolute(), target_is_directory=True)
    Path("in/above").symlink_to("..", target_is_directory=True)
    picture("beside.jpg")
    assert sorted(search("in")) == ["a.jpg", "deep/b.jpg"]


def test_links_to_other_folders_and_files_are_followed_once(search):
    picture("in/a.jpg")
    picture("elsewhere/b.jpg")
    picture("elsewhere/c.jpg")
    for name in ("one", "two"):
        Path(f"in/{name}").symlink_to(Path("elsewhere").absolute(), target_is_directory=True)
    Path("in/again.jpg").symlink_to("a.jpg")
    picture("single.jpg")
    for name in ("first.jpg", "second.jpg"):
        Path(f"in/{name}").symlink_to(Path("single.jpg").absolute())
    assert sorted(search("in")) == ["a.jpg", "first.jpg", "one/b.jpg", "one/c.jpg"]


def test_files_stored_in_hidden_folders_are_found_by_their_links(search):
    """As git-annex and DVC store them."""
    picture("in/.store/x.jpg")
    Path("in/a.jpg").symlink_to(".store/x.jpg")
    assert search("in") == ["a.jpg"]


def test_hidden_files_and_folders_are_not_searched(search):
    for name in ("in/a.jpg", "in/.trash/b.jpg", "in/.c.jpg", "in/deep/.d/e.jpg"):
        picture(name)
    assert search("in") == ["a.jpg"]


def test_pipes_are_not_waited_for(search):
    picture("in/a.jpg")
    os.mkfifo("in/pipe.jpg")
    Path("in/linked.jpg").symlink_to("pipe.jpg")
    assert search("in") == ["a.jpg"]


def test_same_suffixes_count_everywhere(search):
    names = ["a.jpeg", "b.tif", "c.gif", "d.bmp", "e.ppm", "f.webp", "g.PNG"]
    for name in names:
        picture(f"in/{name}")
    assert sorted(search("in")) == names


def test_only_pictures_that_fit_the_glob(workplace):
    for name in ("in/a.jpg", "in/b.png", "in/x/c.jpg", "in/x/y/d.jpg", "in/x/y/e.png"):
        picture(name)
    assert by_bulk("in/**/*.jpg") == ["a.jpg", "x/c.jpg", "x/y/d.jpg"]
    assert by_bulk("in/x/**/y/*") == ["y/d.jpg", "y/e.png"]
    assert by_bulk("in/*/*.jpg") == ["x/c.jpg"]


class TestLeftOut:
    @pytest.fixture(autouse=True)
    def folder(self, workplace):
        picture("in/a.jpg")
        for name in ("b.CR2", "c.nef", "d.tga", "e.mpo", "f.mp4", "g.txt", "LICENCE", "Thumbs.db"):
            Path("in", name).write_bytes(b"x")
        Path("in/.hidden.cr2").touch()
        picture("in/deep/h.jpg")
        os.mkfifo("in/deep/pipe.jpg")

    def test_stylize_names_kinds_and_counts(self):
        result = invoke("stylize", "in", "-s", STYLE, "-o", "out", "--json")
        assert result.code == 0
        assert result.lines[:2] == [
            "fast-style: note: in: left out: 2 RAW (develop them to JPEG or TIFF), 1 TGA, 1 MPO, "
            "1 video (fast-style video), 2 of other kinds (no suffix, .txt)",
            "fast-style: note: in: 1 subfolder not searched (--recursive)",
        ]
        assert result.json["left_out"] == {
            "in": {"RAW": 2, "TGA": 1, "MPO": 1, "video": 1, ".txt": 1, "no suffix": 1}
        }

    def test_stylize_recursive_counts_pipes(self):
        result = invoke("stylize", "in", "-r", "-s", STYLE, "-o", "out", "--json")
        assert result.json["left_out"]["in"]["pipe or device"] == 1
        assert "not searched" not in result.err

    def test_quiet_says_nothing(self):
        assert invoke("stylize", "in", "-s", STYLE, "-o", "out", "-q").err == ""

    def test_folder_of_raw_files_alone_says_so(self):
        for name in ("in/a.jpg", "in/deep/h.jpg"):
            Path(name).unlink()
        text = failure("stylize", "in", "-r", "-s", STYLE)
        assert "there are no pictures in the folder (2 RAW (develop them" in text
        with pytest.raises(UsageError, match=r"no pictures in in \(2 RAW"):
            list_pictures("in", "")
        with pytest.raises(TrainingDataError, match=r"no photos below in \(left out: 2 RAW"):
            find_photos(Path("in"))

    def test_bulk_names_kinds_and_counts(self):
        result = invoke("bulk", "in", "-s", STYLE, "-o", "out", "--runner", "local", "--json")
        assert result.code == 0
        assert result.json["left_out"]["RAW"] == 2
        assert "note: in: left out: 2 RAW" in result.err

    def test_training_names_kinds_and_counts(self):
        notes: list[str] = []
        assert len(find_photos(Path("in"), notes)) == 2
        assert len(notes) == 1
        assert notes[0].startswith("in: left out: 2 RAW (develop")

    def test_output_folder_is_not_counted(self):
        counts = LeftOut()
        found = find_pictures(
            "in", "in/deep", recursive=False, on_error=pytest.fail, left_out=counts
        )
        assert [path.name for path in found] == ["a.jpg"]
        assert counts.folders == 0


def test_unreadable_subfolder_is_noted_by_training(workplace, monkeypatch):
    picture("in/a.jpg")
    Path("in/locked").mkdir()
    real = os.scandir

    def refuse(path):  # tests may run as root, who may read everything
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    notes: list[str] = []
    assert len(find_photos(Path("in"), notes)) == 1
    assert notes == ["in: in/locked cannot be read (Permission denied)"]


def test_two_paintings_of_one_name_are_refused(workplace):
    picture("in/a.jpg")
    picture("in/a.png")
    with pytest.raises(TrainingDataError, match="would train styles of one name"):
        read_paintings(Path("in"))

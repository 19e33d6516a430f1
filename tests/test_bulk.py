"""`fast-style bulk` without Ray: inputs, names and failures."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_style.images import read_image
from tests.bulk_folders import (
    MANIFEST,
    bulk,
    expected,
    make_photos,
    outputs,
    photos,
    second_style,
    times_done,
)
from tests.commands import invoke
from tests.conftest import STYLE

__all__ = ["photos", "second_style"]

fsspec = pytest.importorskip("fsspec")
posix = pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")


def pixels_of(path):
    with Image.open(path) as image:
        return image.width * image.height


class TestWholeRuns:
    def test_pictures_equal_those_of_the_library(self, photos, workplace, model_file):
        summary = bulk("photos", "-o", "out", "-s", STYLE)
        found = outputs(workplace / "out")
        names = {path.relative_to(workplace / "photos").as_posix(): path for path in photos}
        assert found.keys() == names.keys()
        for name, path in names.items():
            assert found[name] == expected(model_file, path)
        assert summary["done"] == summary["pictures"] == 9
        assert summary["failed"] == 0
        assert summary["failures"] is None
        assert summary["runner"] == "local"
        assert summary["megapixels"] == pytest.approx(sum(map(pixels_of, photos)) / 1e6, abs=1e-3)

    def test_outputs_equal_those_of_stylize(self, photos, workplace):
        look = ("--size", 40, "--strength", 0.7, "--preserve-color", "--stroke-size", 2)
        options = (*look, "--format", "webp", "--quality", 80, "-s", STYLE)
        bulk("photos", "-o", "out", *options)
        assert invoke("stylize", "photos", "-r", "-o", "plain", *options).code == 0
        assert outputs(workplace / "out") == outputs(workplace / "plain")

    def test_options_equal_those_of_stylize(self):
        from fast_style.cli.bulk import bulk as command
        from fast_style.cli.stylize import stylize

        shared = {"size", "strength", "preserve_color", "stroke_size", "format", "quality"}
        for name in shared:
            ours, theirs = (
                next(param for param in one.params if param.name == name)
                for one in (command, stylize)
            )
            assert ours.to_info_dict() == theirs.to_info_dict()

    def test_a_folder_of_masks_and_the_colours_of_a_picture(self, photos, workplace, astronaut):
        for path in photos:
            mask = workplace / "masks" / path.parent.name / f"{path.stem}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            half = np.zeros((48, 48), np.uint8)
            half[:, :24] = 255
            Image.fromarray(half).save(mask)
        options = ("--mask", "masks", "--colors-of", astronaut, "--runner", "local")
        result = invoke("bulk", "photos", "-o", "out", "--style", STYLE, *options)
        assert result.code == 0, result.err
        for path in photos:
            name = path.relative_to(workplace / "photos")
            written, photo = (
                read_image(file).pixels.astype(int) for file in (workplace / "out" / name, path)
            )
            assert np.abs(written - photo)[:, 26:].mean() < 4  # the loss of JPEG
            assert np.abs(written - photo)[:, :22].mean() > 8
        again = invoke("bulk", "photos", "-o", "out", "--style", STYLE, *options[:2])
        assert again.code == 2
        assert "was started with colors of" in again.err

    def test_second_run_does_nothing(self, photos, workplace):
        bulk("photos", "-o", "out", "-s", STYLE)
        before = {path: path.stat().st_mtime_ns for path in (workplace / "out").rglob("*.jpg")}
        summary = bulk("photos", "-o", "out", "-s", STYLE)
        assert (summary["done"], summary["done_before"]) == (0, 9)
        assert before == {path: path.stat().st_mtime_ns for path in before}
        assert set(times_done(workplace / "out").values()) == {1}

    def test_new_pictures_are_done_by_the_next_run(self, photos, workplace, astronaut):
        bulk("photos", "-o", "out", "-s", STYLE)
        make_photos(workplace / "photos", 11, astronaut)
        assert bulk("photos", "-o", "out", "-s", STYLE)["done"] == 2
        assert len(outputs(workplace / "out")) == 11

    def test_output_inside_the_input_is_skipped(self, photos):
        assert bulk("photos", "-o", "photos/out", "-s", STYLE)["done"] == 9
        assert bulk("photos", "-o", "photos/out", "-s", STYLE)["pictures"] == 9

    def test_messages_with_and_without_quiet(self, photos):
        assert invoke("bulk", "photos", "-o", "q", "-s", STYLE, "-q").err == ""
        (line,) = invoke("bulk", "photos", "-o", "out", "-s", STYLE).lines
        assert re.fullmatch(r"9 stylized \([\d.e+]+ photos/s\)", line)


class TestInputs:
    def test_glob_keeps_folders_after_the_fixed_part(self, photos, workplace):
        bulk("photos/b/**/*.jpg", "-o", "out", "-s", STYLE)
        inside = [path.relative_to(workplace / "photos/b").as_posix() for path in photos[1::3]]
        deeper = [path.relative_to(workplace / "photos/b").as_posix() for path in photos[2::3]]
        assert sorted(outputs(workplace / "out")) == sorted(inside + deeper)

    def test_urls_as_input_and_output(self, photos, workplace):
        memory = fsspec.filesystem("memory")
        memory.put(f"{workplace}/photos/", "/bulk-in/", recursive=True)
        try:
            summary = bulk("memory://bulk-in", "-o", "memory://bulk-out", "-s", STYLE)
            assert summary["done"] == 9
            bulk("photos", "-o", "out", "-s", STYLE)
            for name, data in outputs(workplace / "out").items():
                assert memory.cat_file(f"/bulk-out/{name}") == data
            summary = bulk("memory://bulk-in", "-o", "memory://bulk-out", "-s", STYLE)
            assert (summary["done"], summary["done_before"]) == (0, 9)
            bulk("memory://bulk-in/a/*.jpg", "-o", "part", "-s", STYLE)
            assert len(outputs(workplace / "part")) == 3
            assert all("/" not in name for name in outputs(workplace / "part"))
            bulk(f"file://{workplace}/photos", "-o", f"file://{workplace}/by-url", "-s", STYLE)
            assert outputs(workplace / "by-url") == outputs(workplace / "out")
        finally:
            memory.rm("/", recursive=True)

    def test_size_gives_the_same_from_urls_and_files(self, workplace, astronaut):
        memory = fsspec.filesystem("memory")
        memory.pipe_file("/bulk-size/photo.jpg", astronaut.read_bytes())
        (workplace / "in").mkdir()
        (workplace / "in" / "photo.jpg").write_bytes(astronaut.read_bytes())
        try:
            bulk("memory://bulk-size", "-o", "a", "-s", STYLE, "--size", 60)
        finally:
            memory.rm("/", recursive=True)
        bulk("in", "-o", "b", "-s", STYLE, "--size", 60)
        assert outputs(workplace / "a") == outputs(workplace / "b")

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_lists_in_csv_and_parquet(self, kind, photos, workplace, model_file, second_style):
        rows = {
            "image": ["photos/a/0000.jpg", str(photos[1]), "photos/a/0000.jpg", photos[3].as_uri()],
            "as": ["x/one", "", "x/two.png", ""],
            "style": ["", "sunflowers", "sunflowers", f"{STYLE}:0.5,sunflowers:0.5"],
        }
        path = workplace / f"list.{kind}"
        if kind == "csv":
            with open(path, "w", encoding="utf-8-sig", newline="") as file:
                csv.writer(file).writerows([rows.keys(), *zip(*rows.values(), strict=True)])
        else:
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table(rows), path)
        columns = ("--column", "image", "--name-column", "as", "--style-column", "style")
        summary = bulk(path, *columns, "-o", "out", "-s", STYLE)
        assert summary["done"] == 4
        found = outputs(workplace / "out")
        whole = [str(photo).lstrip("/") for photo in (photos[1], photos[3])]
        assert sorted(found) == sorted(["x/one.jpg", "x/two.png", *whole])
        assert found["x/one.jpg"] == expected(model_file, photos[0])
        assert found[whole[0]] == expected(second_style, photos[1])
        assert found[whole[1]] == expected(f"{STYLE}:0.5,sunflowers:0.5", photos[3])
        assert found["x/two.png"].startswith(b"\x89PNG")

    def test_paths_in_a_list_are_relative_to_its_url(self, photos, workplace):
        memory = fsspec.filesystem("memory")
        memory.put(f"{workplace}/photos/", "/bulk-in/photos/", recursive=True)
        memory.pipe_file("/bulk-in/list.csv", b"path\nphotos/a/0000.jpg\n\nphotos/b/0001.jpg\n")
        try:
            bulk("memory://bulk-in/list.csv", "-o", "out", "-s", STYLE)
        finally:
            memory.rm("/", recursive=True)
        assert sorted(outputs(workplace / "out")) == ["photos/a/0000.jpg", "photos/b/0001.jpg"]

    def test_duplicates_in_a_list_are_done_once(self, photos, workplace):
        Path("list.csv").write_text("path\nphotos/a/0000.jpg\n./photos/a/0000.jpg\n")
        assert bulk("list.csv", "-o", "out", "-s", STYLE)["pictures"] == 1
        assert len(outputs(workplace / "out")) == 1


class TestNames:
    def test_colliding_names_keep_their_suffix(self, workplace, astronaut):
        folder = workplace / "in"
        folder.mkdir()
        with Image.open(astronaut) as opened:
            small = opened.resize((40, 40))
        for name in ("a.jpg", "a.png", "A.png", "b.png", "a.png.jpg", "c.gif"):
            small.save(folder / name)
        bulk("in", "-o", "out", "-s", STYLE, "--format", "jpg")
        found = outputs(workplace / "out")
        assert len(found) == 6
        assert {"a.jpg.jpg", "a.png.jpg.jpg", "b.jpg", "c.jpg"} < found.keys()
        # Where even that is shared, or would be on some file systems, a hash tells them apart.
        hashed = [name for name in found if re.fullmatch(r"[aA]-[0-9a-f]{12}\.jpg", name)]
        assert len(hashed) == 2
        again = bulk("in", "-o", "second", "-s", STYLE, "--format", "jpg")
        assert again["done"] == 6
        assert outputs(workplace / "second") == found

    def test_names_do_not_collide_without_a_format(self, workplace, astronaut):
        (workplace / "in").mkdir()
        with Image.open(astronaut) as opened:
            for name in ("a.jpg", "a.png"):
                opened.resize((40, 40)).save(workplace / "in" / name)
        bulk("in", "-o", "out", "-s", STYLE)
        assert sorted(outputs(workplace / "out")) == ["a.jpg", "a.png"]

    def test_later_pictures_get_unused_names(self, workplace, astronaut):
        (workplace / "in").mkdir()
        with Image.open(astronaut) as opened:
            small = opened.resize((40, 40))
        small.save("in/a.jpg")
        bulk("in", "-o", "out", "-s", STYLE, "--format", "webp")
        first = outputs(workplace / "out")
        os.remove("in/a.jpg")
        small.save("in/a.png")
        bulk("in", "-o", "out", "-s", STYLE, "--format", "webp")
        found = outputs(workplace / "out")
        assert found["a.webp"] == first["a.webp"]
        assert sorted(found) == ["a.png.webp", "a.webp"]

    def test_one_photo_in_two_styles_gets_two_names(self, photos, workplace, second_style):
        Path("list.csv").write_text(
            f"path,s\nphotos/a/0000.jpg,{STYLE}\nphotos/a/0000.jpg,sunflowers\n"
        )
        bulk("list.csv", "--style-column", "s", "-o", "out")
        assert len(set(outputs(workplace / "out").values())) == 2


class TestFailures:
    @pytest.fixture
    def some_broken(self, photos):
        photos[0].write_bytes(b"\xff\xd8\xff\xe0 not a photo")
        photos[4].write_bytes(photos[4].read_bytes()[:300])
        (photos[1].parent / "empty.png").write_bytes(b"")
        return {str(photos[0]), str(photos[4]), str(photos[1].parent / "empty.png")}

    def test_failures_are_in_the_table(self, some_broken, workplace):
        summary = bulk("photos", "-o", "out", "-s", STYLE, code=3)
        assert (summary["done"], summary["failed"]) == (7, 3)
        with open(summary["failures"], newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["path"] for row in rows} == some_broken
        assert all(len(row["reason"]) > 20 for row in rows)
        assert "0 bytes" in next(r["reason"] for r in rows if r["path"].endswith("empty.png"))
        assert len(outputs(workplace / "out")) == 7

    def test_retry_failed_tries_again(self, some_broken, photos, workplace, astronaut):
        bulk("photos", "-o", "out", "-s", STYLE, code=3)
        summary = bulk("photos", "-o", "out", "-s", STYLE, code=3)
        assert (summary["done"], summary["failed"], summary["done_before"]) == (0, 3, 7)
        make_photos(workplace / "photos", 9, astronaut)
        summary = bulk("photos", "-o", "out", "-s", STYLE, "--retry-failed", code=3)
        assert (summary["done"], summary["failed"]) == (2, 1)
        (photos[1].parent / "empty.png").unlink()
        summary = bulk("photos", "-o", "out", "-s", STYLE)
        assert (summary["done"], summary["failed"], summary["failures"]) == (0, 0, None)
        assert not (workplace / "out" / MANIFEST / "failures.csv").exists()

    def test_exit_code_1_if_all_fail(self, workplace):
        (workplace / "in").mkdir()
        Path("in/a.jpg").write_bytes(b"no")
        assert bulk("in", "-o", "out", "-s", STYLE, code=1)["failed"] == 1

    def test_many_failures_are_only_in_the_table(self, workplace):
        (workplace / "in").mkdir()
        for number in range(30):
            Path(f"in/{number}.jpg").write_bytes(b"no")
        result = invoke("bulk", "in", "-o", "out", "-s", STYLE, "-q")
        assert len(result.lines) == 21
        assert "table" in result.lines[-1]

    @posix
    def test_pipes_in_a_list_are_refused(self, photos):
        os.mkfifo("pipe.jpg")
        Path("list.csv").write_text("path\npipe.jpg\nphotos/a/0000.jpg\n")
        assert bulk("list.csv", "-o", "out", "-s", STYLE, code=3)["done"] == 1

    def test_missing_url_is_a_failure(self, photos):
        Path("list.csv").write_text("path\nmemory://bulk-none/x.jpg\nphotos/a/0000.jpg\n")
        result = invoke("bulk", "list.csv", "-o", "out", "-s", STYLE, "--runner", "local")
        assert result.code == 3
        assert "memory://bulk-none/x.jpg is not there: check the URL" in result.err

    def test_unwritable_output_is_a_failure(self, photos, workplace):
        (workplace / "out").mkdir()
        (workplace / "out" / "a").write_text("a file where a folder has to be")
        summary = bulk("photos", "-o", "out", "-s", STYLE, code=3)
        assert (summary["done"], summary["failed"]) == (6, 3)
        (workplace / "out" / "a").unlink()
        assert bulk("photos", "-o", "out", "-s", STYLE, "--retry-failed")["done"] == 3


class TestVideos:
    def test_videos_are_done_if_asked_for(self, workplace, astronaut):
        pytest.importorskip("av")
        pytest.importorskip("cv2")
        from tests.video_clips import moving_frames, read_clip, write_clip

        make_photos(workplace / "in", 1, astronaut)
        write_clip(workplace / "in" / "a.mp4", moving_frames(4))
        write_clip(workplace / "in" / "a.avi", moving_frames(3), codec="mpeg4")
        (workplace / "in" / "bad.mp4").write_text("no video")
        result = invoke("bulk", "in", "-o", "out", "-s", STYLE)
        assert "3 video" in result.err
        result = invoke("bulk", "in", "-o", "more", "-s", STYLE, "--videos", "--format", "webp")
        assert result.code == 3, result.err
        assert "bad.mp4" in result.err
        assert "expected a video" in result.err
        names = sorted(path.name for path in (workplace / "more").iterdir() if path.is_file())
        assert [name for name in names if not name.endswith(".webp")] == ["a.avi.mp4", "a.mp4.mp4"]
        assert len(read_clip(workplace / "more" / "a.mp4.mp4")[0]) == 4
        again = invoke("bulk", "in", "-o", "more", "-s", STYLE, "--videos", "--format", "webp")
        assert again.code in (0, 3), again.err

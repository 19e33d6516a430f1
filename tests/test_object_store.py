"""The place for files: a folder, or what fsspec knows by a URL."""

import io
import os
import time
from pathlib import Path

import pytest

from fast_style.errors import UsageError
from fast_style.storage.object_store import Store
from tests.object_store import bucket

__all__ = ["bucket"]


@pytest.fixture(params=["folder", "file URL", "memory", "S3"])
def store(request, tmp_path):
    if request.param == "S3":
        request.getfixturevalue("bucket")
        return Store("s3://bucket/jobs")
    if request.param == "memory":
        return Store(f"memory://jobs-{tmp_path.name}")
    path = tmp_path / "a b" / "files"
    return Store(path.as_uri() if request.param == "file URL" else str(path))


def test_files_come_back(store):
    assert store.names() == []
    store.write("one/a.txt", b"first")
    store.write("one/a.txt", b"second")
    store.write_stream("one/deep/b.bin", io.BytesIO(b"stream" * 300_000))
    assert store.read("one/a.txt") == b"second"
    with store.open("one/deep/b.bin") as stream:
        stream.seek(-6, os.SEEK_END)
        assert stream.read() == b"stream"
    assert store.names() == ["one"]
    assert store.names("one") == ["a.txt", "deep"]
    assert store.names("two") == []
    assert store.exists("one")
    assert store.exists("one/deep/b.bin")
    assert not store.exists("one/c")
    with pytest.raises(FileNotFoundError):
        store.read("one/c")
    with pytest.raises(FileNotFoundError):
        store.open("one/c")


def test_deleting(store):
    store.write("one/a", b"1")
    store.write("two/a", b"2")
    store.delete("one")
    store.delete("one")
    store.delete("nothing/at/all")
    assert store.names() == ["two"]
    assert not store.exists("one")


def test_the_age_of_a_folder_is_that_of_its_newest_file(store):
    assert store.age("one") is None
    store.write("one/a", b"1")
    store.write("one/deep/b", b"1")
    assert 0 <= store.age("one") < 60
    path = store.path("one")
    if path is not None:
        hours_ago = time.time() - 7200
        os.utime(path / "a", (hours_ago, hours_ago))
        assert store.age("one") < 60
        os.utime(path / "deep" / "b", (hours_ago, hours_ago))
        assert 7190 < store.age("one") < 7300


def test_what_a_kill_leaves_is_not_seen(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.write("one/a", b"whole")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    for write in (
        lambda: store.write("one/a", b"half"),
        lambda: store.write_stream("one/a", io.BytesIO(b"half")),
    ):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert store.read("one/a") == b"whole"
    # One that the process could not even tidy up.
    (tmp_path / "one" / ".fast-style-0123.tmp").write_bytes(b"half")
    assert store.names("one") == ["a"]


@pytest.mark.parametrize("store", ["folder", "S3"], indirect=True)  # memory shows open files
@pytest.mark.parametrize("size", [1000, 110_000_000])  # one request, or several parts
def test_a_stream_that_breaks_off_leaves_what_was_there(store, size):
    class Broken(io.BytesIO):
        def read(self, count=-1):
            if self.tell() >= size // 2:
                raise OSError("the disk is gone")
            return super().read(count)

    store.write("one/a", b"whole")
    for name in ("one/a", "one/b"):
        with pytest.raises(OSError, match="the disk is gone"):
            store.write_stream(name, Broken(b"x" * size))
    assert store.names("one") == ["a"]
    assert store.read("one/a") == b"whole"


def test_places_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be made"):
        Store(str(tmp_path / "file" / "jobs"))
    with pytest.raises(UsageError, match="fsspec"):
        Store("nonsense://bucket/jobs")


def test_a_store_elsewhere_has_no_paths(tmp_path):
    assert Store("memory://x").path("a") is None
    assert Store(str(tmp_path)).path("a") == Path(tmp_path, "a")

"""Files in a folder, or in storage that fsspec knows by a URL."""

import io
import os
import time
from pathlib import Path
from typing import ClassVar

import pytest

from fast_style.errors import UsageError
from fast_style.storage.object_store import ObjectStore
from tests.object_store import bucket

__all__ = ["bucket"]


def open_store(location: str) -> ObjectStore:
    return ObjectStore(location, extra="serve")


def register_in_place_storage(name: str) -> str:
    """Register storage whose readers see a file grow, as SFTP and HDFS do; return its URL."""
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    class InPlaceFileSystem(MemoryFileSystem):
        protocol = "in-place"
        store: ClassVar = {}
        pseudo_dirs: ClassVar = [""]

        @classmethod
        def _strip_protocol(cls, path):
            return MemoryFileSystem._strip_protocol(path.removeprefix("in-place:/"))

    fsspec.register_implementation("in-place", InPlaceFileSystem, clobber=True)
    return f"in-place://{name}"


@pytest.fixture(params=["folder", "file URL", "memory", "in place", "S3"])
def store(request, tmp_path):
    if request.param == "S3":
        request.getfixturevalue("bucket")
        return open_store("s3://bucket/jobs")
    if request.param == "memory":
        return open_store(f"memory://jobs-{tmp_path.name}")
    if request.param == "in place":
        return open_store(register_in_place_storage("jobs"))
    path = tmp_path / "a b" / "files"
    return open_store(path.as_uri() if request.param == "file URL" else str(path))


def test_files_are_read_back(store):
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


def test_folders_and_files_are_deleted(store):
    store.write("one/a", b"1")
    store.write("two/a", b"2")
    store.write("two/b", b"2")
    store.delete_folder("one")
    store.delete_folder("one")
    store.delete_folder("nothing/at/all")
    store.delete_file("two/b")
    store.delete_file("two/b")
    assert store.names() == ["two"]
    assert store.names("two") == ["a"]
    assert not store.exists("one")


def test_age_of_a_folder_is_that_of_its_newest_file(store):
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


def test_temporary_files_of_a_killed_process_are_not_listed(tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    store.write("one/a", b"whole")

    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", kill)
    for write in (
        lambda: store.write("one/a", b"half"),
        lambda: store.write_stream("one/a", io.BytesIO(b"half")),
    ):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert store.read("one/a") == b"whole"
    # One that the process had no time to delete.
    (tmp_path / "one" / ".fast-style-0123.tmp").write_bytes(b"half")
    assert store.names("one") == ["a"]


# Not memory: it shows files that are still open.
@pytest.mark.parametrize("store", ["folder", "in place", "S3"], indirect=True)
@pytest.mark.parametrize("size", [1000, 60_000_000])  # one request, or several parts
def test_a_stream_that_breaks_off_leaves_the_old_file(store, size):
    class Broken(io.BytesIO):
        def read(self, count=-1):
            if self.tell() >= size - 1000:
                raise OSError("the disk is gone")
            return super().read(count)

    store.write("one/a", b"whole")
    data = b"x" * size
    for name in ("one/a", "one/b"):
        with pytest.raises(OSError, match="the disk is gone"):
            store.write_stream(name, Broken(data))
    assert store.names("one") == ["a"]
    assert store.read("one/a") == b"whole"


@pytest.mark.parametrize("temporary_folder", [None, "tmp"])
def test_storage_that_writes_in_place_gets_whole_files_by_a_move(temporary_folder, monkeypatch):
    store = ObjectStore(
        register_in_place_storage("moves"), temporary_folder=temporary_folder, extra="serve"
    )
    store.write("one/a", b"old")
    written = []
    system = store._system
    real_pipe, real_open = system.pipe_file, system.open

    def pipe_file(path, data, **options):
        written.append(path)
        real_pipe(path, data[: len(data) // 2], **options)
        assert store.read("one/a") == b"old"
        real_pipe(path, data, **options)

    def open_file(path, mode="rb", **options):
        if mode == "wb":
            written.append(path)
        return real_open(path, mode, **options)

    monkeypatch.setattr(system, "pipe_file", pipe_file)
    monkeypatch.setattr(system, "open", open_file)
    store.write("one/a", b"new and whole")
    assert store.read("one/a") == b"new and whole"
    store.write_stream("one/a", io.BytesIO(b"a stream"))
    assert store.read("one/a") == b"a stream"
    folder = "one" if temporary_folder is None else temporary_folder
    assert len(set(written)) == 2  # one temporary file for each write
    assert all(f"/{folder}/.fast-style-" in path for path in written)
    assert store.names("one") == ["a"]


def test_locations_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be created"):
        open_store(str(tmp_path / "file" / "jobs")).create_folder()
    with pytest.raises(UsageError, match="fsspec"):
        open_store("nonsense://bucket/jobs")


def test_only_a_folder_has_paths(tmp_path):
    assert open_store("memory://x").path("a") is None
    assert open_store(str(tmp_path)).path("a") == Path(tmp_path, "a")

"""`fast-style bulk` on an object store: a real S3 client against a server on the loopback."""

import pytest
import urllib3

from tests.bulk_folders import MANIFEST, bulk, outputs, photos
from tests.conftest import STYLE

__all__ = ["photos"]

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")


@pytest.fixture
def bucket(monkeypatch):
    """An S3 bucket on a server of this process; the file system of fsspec for it."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # Its state belongs to the process, not to the server.
    urllib3.request("POST", f"http://{host}:{port}/moto-api/reset")
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    yield system
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_from_a_bucket_into_a_bucket(bucket, photos, workplace):
    photos[2].write_bytes(b"\xff\xd8\xff broken")
    bucket.put(f"{workplace}/photos/", "bucket/in/", recursive=True)
    told = bulk("s3://bucket/in", "-o", "s3://bucket/out", "-s", STYLE, code=3)
    assert (told["done"], told["failed"]) == (8, 1)
    assert told["failures"] == f"s3://bucket/out/{MANIFEST}/failures.csv"
    bulk("photos", "-o", "plain", "-s", STYLE, code=3)
    bucket.get("bucket/out/", f"{workplace}/out/", recursive=True)
    assert outputs(workplace / "out") == outputs(workplace / "plain")
    assert b"s3://bucket/in/b/c/0002.jpg" in bucket.cat_file(f"bucket/out/{MANIFEST}/failures.csv")
    # The manifest goes on from its parts; what was lost of it is done again, and what is new.
    parts = bucket.ls(f"bucket/out/{MANIFEST}/parts", detail=False, refresh=True)
    assert len(parts) == 1
    lines = bucket.cat_file(parts[0]).splitlines(keepends=True)
    bucket.pipe_file(parts[0], b"".join(lines[:4]) + lines[4][:20])
    bucket.pipe_file("bucket/in/new.jpg", photos[0].read_bytes())
    told = bulk("s3://bucket/in", "-o", "s3://bucket/out", "-s", STYLE, "--retry-failed", code=3)
    assert told["done"] + told["done_before"] == 9
    assert 3 <= told["done_before"] <= 4
    bucket.invalidate_cache()
    assert bucket.exists("bucket/out/new.jpg")


def test_a_bucket_that_is_not_there(bucket, photos):
    from tests.commands import failure

    told = failure("bulk", "photos", "-o", "s3://none/out", "-s", STYLE, "--runner", "local")
    assert told.startswith("s3://none/out cannot be ")
    told = failure("bulk", "s3://none/in", "-o", "out", "-s", STYLE, "--runner", "local")
    assert "s3://none/in cannot be listed: " in told

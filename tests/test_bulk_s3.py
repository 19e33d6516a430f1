"""`fast-style bulk` on an object store: a real S3 client against a server on the loopback."""

from tests.bulk_folders import MANIFEST, bulk, outputs, photos
from tests.conftest import STYLE
from tests.object_store import bucket

__all__ = ["bucket", "photos"]


def test_bucket_to_bucket(bucket, photos, workplace):
    photos[2].write_bytes(b"\xff\xd8\xff broken")
    bucket.put(f"{workplace}/photos/", "bucket/in/", recursive=True)
    summary = bulk("s3://bucket/in", "-o", "s3://bucket/out", "-s", STYLE, code=3)
    assert (summary["done"], summary["failed"]) == (8, 1)
    assert summary["failures"] == f"s3://bucket/out/{MANIFEST}/failures.csv"
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
    summary = bulk("s3://bucket/in", "-o", "s3://bucket/out", "-s", STYLE, "--retry-failed", code=3)
    assert summary["done"] + summary["done_before"] == 9
    assert 3 <= summary["done_before"] <= 4
    bucket.invalidate_cache()
    assert bucket.exists("bucket/out/new.jpg")


def test_missing_bucket_is_reported(bucket, photos):
    from tests.commands import failure

    message = failure("bulk", "photos", "-o", "s3://none/out", "-s", STYLE, "--runner", "local")
    assert message.startswith("s3://none/out cannot be ")
    message = failure("bulk", "s3://none/in", "-o", "out", "-s", STYLE, "--runner", "local")
    assert "s3://none/in cannot be listed: " in message

"""`fast-style bulk` on an object store: a real S3 client against a server on the loopback."""

from tests.bulk_folders import MANIFEST, bulk, outputs, photos
from tests.conftest import STYLE
from tests.object_store import bucket

__all__ = ["bucket", "photos"]


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

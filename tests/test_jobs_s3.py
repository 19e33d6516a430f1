"""Background jobs whose files are in an object store, by a real S3 client and server."""

import io

import pytest
from PIL import Image

pytest.importorskip("dbos")
pytest.importorskip("fastapi")

from fast_style.images import encode_image, read_image
from fast_style.inference.stylizer import Stylizer
from tests.conftest import STYLE
from tests.job_service import batch_form, optimize_form, running
from tests.object_store import bucket
from tests.test_jobs_api import photos, service_for, settings_for

__all__ = ["bucket", "photos"]


def test_a_batch_and_an_optimisation_on_s3(bucket, photos, workplace, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    jobs = settings_for(workplace, worker="own", results="s3://bucket/jobs")
    with running(service_for(), jobs) as client:
        batch = client.post(batch_form(photos, STYLE, format="png"))
        painted = client.post(
            optimize_form(*list(photos.values())[:2], size=64, iterations=4, preview_every=2)
        )
        for answer in (batch, painted):
            job = client.wait(answer.headers["location"], "done", "failed")
            assert job["state"] == "done", job
            result = client.get(job["links"]["result"])
            assert len(job["links"]["previews"]) >= 2
            for link in job["links"]["previews"]:
                with Image.open(io.BytesIO(client.get(link).content)) as preview:
                    preview.load()
            if answer is batch:
                stylizer = Stylizer(STYLE)
                assert {n: data for n, data in result.zip.items() if n.endswith(".png")} == {
                    name: encode_image(stylizer.stylize_photo(read_image(data)), format="PNG")[0]
                    for name, data in photos.items()
                }
            else:
                with Image.open(io.BytesIO(result.content)) as picture:
                    assert max(picture.size) == 64
        bucket.invalidate_cache()
        assert len(bucket.ls("bucket/jobs")) == 2
        assert not (workplace / "files").exists()

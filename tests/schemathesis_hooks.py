"""What Schemathesis sends for `format: binary`, which in our document is a picture file."""

import io
import uuid
import zipfile

import schemathesis
from hypothesis import strategies
from PIL import Image
from schemathesis.transport.serialization import Binary


def _pictures() -> list[bytes]:
    files = []
    for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((19, 17)).convert("RGB").save(buffer, format)
        files.append(buffer.getvalue())
    return files


def _archives() -> list[bytes]:
    files = []
    for count in (1, 3):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number, picture in enumerate(_pictures()[:count]):
                archive.writestr(f"{number}.png", picture)
        files.append(buffer.getvalue())
    return files


PICTURES, ARCHIVES = _pictures(), _archives()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Apply what the document cannot express: archives are not pictures, a key is for one form."""
    form = case.body
    if not case.meta.generation.mode.is_positive:
        return
    if case.headers is not None and "Idempotency-Key" in case.headers:
        fresh = uuid.uuid4().hex
        case.headers["Idempotency-Key"] = fresh + case.headers["Idempotency-Key"][len(fresh) :]
    if isinstance(form, dict):
        form.pop("weights", None)
        sent = getattr(form.get("photos"), "data", form.get("photos"))
        if sent in PICTURES:
            form["photos"] = Binary(ARCHIVES[PICTURES.index(sent) % len(ARCHIVES)])


schemathesis.openapi.format("binary", strategies.sampled_from(PICTURES))

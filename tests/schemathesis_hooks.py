"""What Schemathesis is to send for `format: binary`, which in our document is a picture file."""

import io

import schemathesis
from hypothesis import strategies
from PIL import Image


def _pictures() -> list[bytes]:
    files = []
    for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((9, 7)).convert("RGB").save(buffer, format)
        files.append(buffer.getvalue())
    return files


schemathesis.openapi.format("binary", strategies.sampled_from(_pictures()))

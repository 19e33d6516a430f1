"""A batch job: each photo is a step that writes one file; the last step writes a ZIP of all.

A step may be repeated after a kill; it then writes the same file again. The result of a photo's
step is its record; a photo that cannot be used has a record too, with the error.
"""

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

from fast_style.errors import FastStyleError, ImageError
from fast_style.images import encode_image, format_from_suffix, read_image
from fast_style.service.jobs.archives import Limits, PhotoArchive, name_targets
from fast_style.service.jobs.client import PROGRESS
from fast_style.service.jobs.context import LOG, MAX_ATTEMPTS, WorkerContext
from fast_style.service.jobs.spec import JobSpec, picture_format

ARCHIVE = "photos.zip"
RESULT = "result.zip"
REPORT = "report.json"
PREVIEWS = "previews"


class PhotoRecord(TypedDict):
    """The result of a photo of a batch, stored in the database.

    Attributes:
        photo: its name in the archive.
        picture: name of the stylized picture in the result; None if it failed.
        file: its name in the store, in the job's folder.
        digest: SHA-256 of that file.
        notes: notes for the client.
        error: why it failed, in a sentence.
    """

    photo: str
    picture: str | None
    file: str
    digest: str
    notes: list[str]
    error: str | None


class BatchJob:
    """A batch job in this process, its archive open for reading."""

    def __init__(self, context: WorkerContext, job_id: str, spec: JobSpec) -> None:
        """Open the archive that was uploaded.

        Raises:
            OSError: it cannot be read.
            ArchiveError: it is not the archive that was uploaded.
        """
        self._context, self._id, self._spec = context, job_id, spec
        self._options = spec.batch_options()
        self._stream = context.store.open(f"{spec.inputs}/{ARCHIVE}")
        try:
            self._photos = PhotoArchive(self._stream, Limits(**spec.limits))
        except BaseException:
            self._stream.close()
            raise
        self._targets = name_targets(self._photos.members, picture_format(self._options.format))

    def close(self) -> None:
        """Close the archive."""
        self._stream.close()

    def stylize(self, position: int, failed: int) -> PhotoRecord:
        """Stylize one photo and write its file.

        Args:
            position: of the photo in the archive.
            failed: the number of photos before it that failed.

        Raises:
            OSError: the store cannot be read or written.
            FastStyleError: the style cannot be used, which fails the job and not the photo.
        """
        record = self._stylize(position)
        total = len(self._photos.members)
        progress = {"done": position + 1, "total": total, "unit": "photos"}
        progress["failed"] = failed + (record["error"] is not None)
        self._context.store.write(f"{self._id}/{PROGRESS}", json.dumps(progress).encode())
        return record

    def bundle(self, records: Sequence[PhotoRecord]) -> dict[str, Any]:
        """Write all pictures and a report into one archive; a picture that is damaged is remade.

        Raises:
            OSError: the store cannot be read or written.
        """
        report = []
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(
                file, "w"
            ) as archive:  # stored: pictures cannot be compressed further
                for position, record in enumerate(records):
                    data = self._read_picture(position, record)
                    if data is not None:
                        name = self._targets[position]
                        archive.writestr(zipfile.ZipInfo(name), data)
                    keys = ("photo", "picture", "notes", "error")
                    report.append({key: record[key] for key in keys})  # type: ignore[literal-required]
                text = json.dumps(report, ensure_ascii=False, indent=1)
                archive.writestr(zipfile.ZipInfo(REPORT), text)
            self._context.store.write_stream(f"{self._id}/{RESULT}", file)
        failed = sum(record["error"] is not None for record in records)
        return {
            "result": RESULT,
            "media_type": "application/zip",
            "pictures": len(records) - failed,
            "failed": failed,
        }

    def _stylize(self, position: int) -> PhotoRecord:
        member = self._photos.members[position]
        file = f"{PREVIEWS}/{position + 1:05d}.{self._targets[position].rpartition('.')[2]}"
        record: PhotoRecord = {
            "photo": member.name,
            "picture": None,
            "file": file,
            "digest": "",
            "notes": [],
            "error": None,
        }
        if self._context.count_attempts(self._id, position) > MAX_ATTEMPTS:
            record["error"] = f"{member.name}: the worker died at it {MAX_ATTEMPTS} times"
            return record
        LOG.info("job %s: photo %d of %d", self._id, position + 1, len(self._photos.members))
        options = self._options
        with self._context.stylizers.exclusive(
            options.style, max_megapixels=self._spec.max_megapixels
        ) as stylizer:
            try:
                photo = read_image(
                    self._photos.read(position),
                    max_megapixels=self._spec.max_megapixels,
                    name=member.name,
                )
                if not options.keep_metadata:
                    photo = replace(photo, exif=None)
                stylized = stylizer.stylize_photo(photo, options)
                format = format_from_suffix(self._targets[position])
                data, notes = encode_image(stylized, format=format, quality=options.quality)
            except ImageError as error:
                record["error"] = str(error)
                return record
        self._context.store.write(f"{self._id}/{file}", data)
        record["picture"] = self._targets[position]
        record["digest"] = hashlib.sha256(data).hexdigest()
        record["notes"] = [*photo.notes, *notes]
        return record

    def _read_picture(self, position: int, record: PhotoRecord) -> bytes | None:
        """Read a picture back; one that is damaged, as by a power cut, is stylized again."""
        if record["error"] is not None:
            return None
        name = f"{self._id}/{record['file']}"
        for attempt in range(2):
            try:
                data = self._context.store.read(name)
            except FileNotFoundError:
                data = b""
            if hashlib.sha256(data).hexdigest() == record["digest"] or attempt:
                return data
            LOG.warning(
                "job %s: the picture of photo %d is damaged and made again", self._id, position + 1
            )
            self._stylize(position)
        raise AssertionError


def is_transient(error: BaseException) -> bool:
    """Return whether an error may pass by itself, as a full disk or a lost network connection."""
    return isinstance(error, OSError) and not isinstance(error, FastStyleError)

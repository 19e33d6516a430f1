"""A batch, photo by photo: each is a step that leaves one file, and a ZIP of all is the last one.

A step may be done again after a kill; it then writes the same file once more. What a photo's step
gives is its outcome, and a photo that cannot be used is an outcome too.
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
from fast_style.options import StyleOptions
from fast_style.service.jobs.archives import Limits, PhotoArchive, name_targets
from fast_style.service.jobs.client import PROGRESS
from fast_style.service.jobs.context import LOG, Workplace
from fast_style.service.jobs.spec import JobSpec, picture_format

ARCHIVE = "photos.zip"
RESULT = "result.zip"
REPORT = "report.json"
PREVIEWS = "previews"

_BEGUN = "begun.json"
_MOST_BEGINNINGS = 5
"""So many times may a photo be begun and its worker die; then it is held to be the cause."""


class Outcome(TypedDict):
    """What became of a photo.

    Attributes:
        photo: its name in the archive.
        picture: name of the stylized picture in the result; None if it failed.
        file: the same in the store, below the job's folder.
        digest: SHA-256 of that file.
        notes: what the client should be told.
        error: why it failed, in a sentence.
    """

    photo: str
    picture: str | None
    file: str
    digest: str
    notes: list[str]
    error: str | None


class Batch:
    """The photos of a batch, open for reading."""

    def __init__(self, work: Workplace, job_id: str, spec: JobSpec) -> None:
        """Open the archive that was uploaded.

        Raises:
            OSError: it cannot be read.
            ArchiveError: it is not what it was when the job was taken.
        """
        self._work, self._id, self._spec = work, job_id, spec
        self._order = spec.batch_order()
        self._stream = work.store.open(f"{spec.inputs}/{ARCHIVE}")
        try:
            self._photos = PhotoArchive(self._stream, Limits(**spec.limits))
        except BaseException:
            self._stream.close()
            raise
        self._targets = name_targets(self._photos.members, picture_format(self._order.format))

    def close(self) -> None:
        """Close the archive."""
        self._stream.close()

    def paint(self, position: int, failed: int) -> Outcome:
        """Stylize one photo and leave its file.

        Args:
            position: of the photo in the archive.
            failed: how many photos before it failed, to tell of.

        Raises:
            OSError: the store cannot be read or written.
            FastStyleError: the style cannot be used; that is not the photo's matter.
        """
        outcome = self._paint(position)
        total = len(self._photos.members)
        progress = {"done": position + 1, "total": total, "unit": "photos"}
        progress["failed"] = failed + (outcome["error"] is not None)
        self._work.store.write(f"{self._id}/{PROGRESS}", json.dumps(progress).encode())
        return outcome

    def bundle(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """Put all pictures and a report into one archive; what is not as it was left, is remade.

        Raises:
            OSError: the store cannot be read or written.
        """
        report = []
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, "w") as archive:  # stored: pictures do not get smaller
                for position, outcome in enumerate(outcomes):
                    data = self._picture(position, outcome)
                    if data is not None:
                        name = self._targets[position]
                        archive.writestr(zipfile.ZipInfo(name), data)
                    told = ("photo", "picture", "notes", "error")
                    report.append({key: outcome[key] for key in told})  # type: ignore[literal-required]
                text = json.dumps(report, ensure_ascii=False, indent=1)
                archive.writestr(zipfile.ZipInfo(REPORT), text)
            self._work.store.write_stream(f"{self._id}/{RESULT}", file)
        failed = sum(outcome["error"] is not None for outcome in outcomes)
        return {
            "result": RESULT,
            "media_type": "application/zip",
            "pictures": len(outcomes) - failed,
            "failed": failed,
        }

    def _paint(self, position: int) -> Outcome:
        member = self._photos.members[position]
        file = f"{PREVIEWS}/{position + 1:05d}.{self._targets[position].rpartition('.')[2]}"
        outcome: Outcome = {
            "photo": member.name,
            "picture": None,
            "file": file,
            "digest": "",
            "notes": [],
            "error": None,
        }
        if self._beginnings(position) > _MOST_BEGINNINGS:
            outcome["error"] = f"{member.name}: the worker died at it {_MOST_BEGINNINGS} times"
            return outcome
        LOG.info("job %s: photo %d of %d", self._id, position + 1, len(self._photos.members))
        order = self._order
        with self._work.stylizers.exclusive(
            order.style, max_megapixels=self._spec.max_megapixels
        ) as stylizer:
            try:
                photo = read_image(
                    self._photos.read(position),
                    max_megapixels=self._spec.max_megapixels,
                    name=member.name,
                )
                if not order.keep_metadata:
                    photo = replace(photo, exif=None)
                options = StyleOptions(
                    size=order.size,
                    strength=order.strength,
                    preserve_color=order.preserve_color,
                    stroke_size=order.stroke_size,
                )
                painted = stylizer.stylize_photo(photo, options)
                format = format_from_suffix(self._targets[position])
                data, notes = encode_image(painted, format=format, quality=order.quality)
            except ImageError as error:
                outcome["error"] = str(error)
                return outcome
        self._work.store.write(f"{self._id}/{file}", data)
        outcome["picture"] = self._targets[position]
        outcome["digest"] = hashlib.sha256(data).hexdigest()
        outcome["notes"] = [*photo.notes, *notes]
        return outcome

    def _picture(self, position: int, outcome: Outcome) -> bytes | None:
        """Read a picture back; one that is damaged, as by a power cut, is made again."""
        if outcome["error"] is not None:
            return None
        name = f"{self._id}/{outcome['file']}"
        for attempt in range(2):
            try:
                data = self._work.store.read(name)
            except FileNotFoundError:
                data = b""
            if hashlib.sha256(data).hexdigest() == outcome["digest"] or attempt:
                return data
            LOG.warning("job %s: photo %d is made again", self._id, position + 1)
            self._paint(position)
        raise AssertionError

    def _beginnings(self, position: int) -> int:
        """Note that a photo is begun, and count how many times in a row it was."""
        name = f"{self._id}/{_BEGUN}"
        try:
            begun = json.loads(self._work.store.read(name))
        except (FileNotFoundError, ValueError):
            begun = {}
        times = begun.get("times", 0) + 1 if begun.get("position") == position else 1
        self._work.store.write(name, json.dumps({"position": position, "times": times}).encode())
        return int(times)


def is_the_stores_matter(error: BaseException) -> bool:
    """Tell whether an error may pass by itself: a disk that is full, a network that is down."""
    return isinstance(error, OSError) and not isinstance(error, FastStyleError)

"""The form that requests a job: its fields and files, parsed and described."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import asdict
from typing import IO, Any

from fast_style.errors import UsageError, shorten
from fast_style.options import MASK_OPTIONS
from fast_style.service.jobs.archives import Limits, PhotoArchive
from fast_style.service.jobs.batch_job import ARCHIVE
from fast_style.service.jobs.optimize_job import PAINTING, PHOTO
from fast_style.service.jobs.settings import JobSettings
from fast_style.service.jobs.spec import (
    SERVER_OPTIONS,
    START_PICTURES,
    BatchJobOptions,
    JobOptions,
    JobSpec,
    Kind,
    OptimizeJobOptions,
    VideoJobOptions,
    stored_options,
)
from fast_style.service.jobs.video_job import VIDEO
from fast_style.service.multipart import Form
from fast_style.service.option_form import OptionForm
from fast_style.service.problems import Problem
from fast_style.service.settings import ServiceSettings
from fast_style.service.stylize_form import IMAGE_MEDIA_TYPES, style_schema
from fast_style.styles.mixing import parse_mixture
from fast_style.styles.registry import list_styles

__all__ = ["JobForms"]

FILES: dict[Kind, tuple[str, ...]] = {
    "optimize": ("photo", "painting"),
    "batch": ("photos",),
    "video": ("video",),
}
_MEDIA_TYPES = {
    "photo": IMAGE_MEDIA_TYPES,
    "painting": IMAGE_MEDIA_TYPES,
    "photos": "application/zip",
    "video": "video/*, image/gif, image/webp, image/png",
}
_BINARY = {"type": "string", "format": "binary"}


class JobForms:
    """The forms of the kinds of jobs, within the limits of a service.

    Attributes:
        options: the fields of each form.
    """

    def __init__(self, settings: ServiceSettings, jobs: JobSettings) -> None:
        """Make the forms.

        Args:
            settings: `max_megapixels` and `max_body_bytes` are used.
            jobs: the limits of jobs.
        """
        self._settings, self._jobs = settings, jobs
        maximum = {"size": jobs.optimize_size, "iterations": jobs.optimize_iterations}
        self.options: dict[Kind, OptionForm[Any]] = {
            "optimize": OptionForm(
                OptimizeJobOptions,
                "a job of kind optimize",
                files=("kind", *FILES["optimize"]),
                hidden=SERVER_OPTIONS,
                maximum=maximum,
            ),
            "batch": OptionForm(
                BatchJobOptions, "a job of kind batch", files=("kind", *FILES["batch"])
            ),
            "video": OptionForm(
                VideoJobOptions,
                "a job of kind video",
                files=("kind", *FILES["video"]),
                hidden=MASK_OPTIONS,
            ),
        }

    @property
    def max_bytes(self) -> int:
        """The largest body of a form, in bytes."""
        pictures = self.max_files * self._settings.max_body_bytes
        largest = max(self._jobs.batch_megabytes, self._jobs.video_megabytes)
        return max(int(largest * 1e6), pictures)

    @property
    def max_files(self) -> int:
        """The most files of a form."""
        return 1 + self._jobs.optimize_paintings

    def parse(self, form: Form) -> tuple[JobSpec, dict[str, IO[bytes]]]:
        """Parse a form. The directory of an archive is checked; no picture is decoded.

        Args:
            form: the form, its files on disk.

        Returns:
            The job without `inputs` and `digest`, and its input files by their names in the store.

        Raises:
            Problem: a file is too large, or there is no such style.
            FastStyleError: a field or file is missing or cannot be used, or torch is missing.
        """
        texts = dict(form.fields)
        kind = texts.pop("kind", "").strip()
        if kind not in self.options:
            raise UsageError(
                f"the field kind is {kind[:60]!r}; expected one of {', '.join(self.options)}"
            )
        options = self.options[kind].parse(texts)
        files = self._collect_files(form, kind)
        if isinstance(options, BatchJobOptions):
            return self._batch_job(options, files), files
        if isinstance(options, VideoJobOptions):
            return self._video_job(options), files
        return self._optimize_job(options, files), files

    def body(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the forms as OpenAPI's `requestBody`.

        Args:
            names: of the styles that there are.
        """
        style = style_schema(list(names))
        batch, optimize = self.options["batch"].schema(), self.options["optimize"].schema()
        batch["properties"]["style"] |= style
        batch["properties"]["photos"] = {**_BINARY, "description": "A ZIP archive of photos."}
        known = optimize["properties"]
        known["init"]["pattern"] = f"^(?:{'|'.join(START_PICTURES)}|{style['pattern'][1:-1]})$"
        known["weights"]["pattern"] = r"^$|^\d+(\.\d+)?(,\d+(\.\d+)?)*$"
        known["photo"] = {**_BINARY, "description": "The photo."}
        known["painting"] = {
            "type": "array",
            "items": _BINARY,
            "minItems": 1,
            "maxItems": self._jobs.optimize_paintings,
            "description": "One painting or several: the field is repeated.",
        }
        video = self.options["video"].schema()
        video["properties"]["style"] |= style
        video["properties"]["video"] = {**_BINARY, "description": "The video."}
        forms: dict[Kind, Any] = {"batch": batch, "optimize": optimize, "video": video}
        for kind, schema in forms.items():
            schema["title"] = f"A job of kind {kind}"
            schema["properties"] = {"kind": {"type": "string", "enum": [kind]}} | schema[
                "properties"
            ]
            schema["required"] = ["kind", *schema.get("required", ()), *FILES[kind]]
        encoding = {name: {"contentType": types} for name, types in _MEDIA_TYPES.items()}
        media = {"schema": {"oneOf": list(forms.values())}, "encoding": encoding}
        return {"required": True, "content": {"multipart/form-data": media}}

    def _optimize_job(self, options: OptimizeJobOptions, files: dict[str, IO[bytes]]) -> JobSpec:
        if options.init not in START_PICTURES:
            _check_style(options.init)
        # A worker elsewhere may have torch; the service's own has the same packages as the service.
        if self._jobs.worker == "own" and importlib.util.find_spec("torch") is None:
            raise UsageError(
                "jobs of kind optimize need torch, which is not installed where this service runs: "
                'pip install "fast-style[torch]" there, or send a job of kind batch'
            )
        paintings = len(files) - 1
        options.painting_weights(paintings)
        return self._spec("optimize", options, limits={}, paintings=paintings)

    def _batch_job(self, options: BatchJobOptions, files: dict[str, IO[bytes]]) -> JobSpec:
        _check_style(options.style)
        limits = Limits(self._jobs.batch_photos, int(self._jobs.unpacked_megabytes * 1e6))
        photos = len(PhotoArchive(files[ARCHIVE], limits).members)
        return self._spec("batch", options, limits=asdict(limits), photos=photos)

    def _video_job(self, options: VideoJobOptions) -> JobSpec:
        _check_style(options.style)
        if self._jobs.worker == "own" and importlib.util.find_spec("av") is None:
            raise UsageError(
                "jobs of kind video need PyAV, which is not installed where this service runs: "
                'pip install "fast-style[video]" there'
            )
        return self._spec("video", options, limits={"seconds": int(self._jobs.video_seconds)})

    def _spec(self, kind: Kind, options: JobOptions, **inputs: Any) -> JobSpec:
        return JobSpec(
            kind=kind,
            options=stored_options(options),
            inputs="",
            digest="",
            max_megapixels=self._settings.max_megapixels,
            expiry_seconds=self._jobs.expiry_hours * 3600,
            **inputs,
        )

    def _collect_files(self, form: Form, kind: Kind) -> dict[str, IO[bytes]]:
        """Return the files of a kind of job by their names in the store, and refuse others."""
        for name in form.files:
            if name not in FILES[kind]:
                raise UsageError(
                    f"a job of kind {kind} has no file {name[:60]!r}; it has "
                    f"{' and '.join(FILES[kind])}"
                )
        files: dict[str, IO[bytes]] = {}
        for name in FILES[kind]:
            uploads = form.files.get(name, [])
            most = self._jobs.optimize_paintings if name == "painting" else 1
            if not 1 <= len(uploads) <= most:
                raise UsageError(
                    f"there are {len(uploads)} files of the name {name}; expected 1"
                    + (f" to {most}" if most > 1 else "")
                )
            limit = self._settings.max_body_bytes
            if name in ("photos", "video"):
                archive, video = self._jobs.batch_megabytes, self._jobs.video_megabytes
                limit = int((archive if name == "photos" else video) * 1e6)
            for number, upload in enumerate(uploads):
                size = upload.size or 0
                if size > limit:
                    raise Problem(
                        413,
                        "The body is too large",
                        f"the file {name} has {size:,} bytes, and may have {limit:,}",
                    )
                stored = {"photo": PHOTO, "photos": ARCHIVE, "video": VIDEO}.get(
                    name, PAINTING.format(number)
                )
                files[stored] = upload.file
        return files


def _check_style(style: str) -> None:
    known = {entry.name for entry in list_styles() if entry.card is not None}
    for name, _ in [(style, 1.0)] if style in known else parse_mixture(style):
        if name not in known:
            raise Problem(
                422,
                "No such style",
                f"there is no style named {shorten(repr(name))} (GET /v1/styles lists them all)",
            )

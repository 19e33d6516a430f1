"""The tab Stylize: photo, styles, what can be set, and the result."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from fast_style import FastStyleError, Photo, contact_sheet, encode_image, read_image
from fast_style.demo.backend import service
from fast_style.demo.cache import Work, gate, paint
from fast_style.demo.compare import compare, shown
from fast_style.demo.gallery import gallery
from fast_style.demo.photos import choose_photos
from fast_style.demo.session import (
    MEGAPIXELS,
    Shot,
    Style,
    chosen,
    mixed,
    named_styles,
    notice,
    photos,
)
from fast_style.demo.text import SUFFIXES, archive_name, distinct, file_name, plain

SIZES = (384, 512, 768, 1024, 1536, 2048)
STROKES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
SEVERAL = 1024
"""The largest size at which several pictures are made at once."""

_SHEET_SIZE = 320


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set; see `Stylizer.stylize`."""

    size: int
    stroke_size: float
    strength: float
    preserve_color: bool
    format: str


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A photo in a style."""

    shot: Shot
    style: Style
    work: Work
    photo: Photo

    @property
    def label(self) -> str:
        """What it is called on the page."""
        return f"{self.shot.name}, {self.style.title}"


def studio() -> None:
    """Show the tab."""
    left, right = st.columns([5, 7], gap="large")
    with left:
        choose_photos()
        picked = chosen()
        gallery(picked)
    with right:
        place = st.container(key="result")
        told = notice()
        if told:
            st.info(plain(told))
        if not picked:
            place.warning("There are no styles here: `fast-style styles` says where they may be.")
            return
        with st.container(border=True, key="settings"):
            settings, picked = _settings(picked)
        shots = photos()
        with place:
            results = _results(shots, picked, settings)
            if results:
                _show(results, settings)
        if len(named_styles()) > 1 and service() is None:
            _sheet(shots[0])


def _settings(picked: list[Style]) -> tuple[Settings, list[Style]]:
    """Show what can be set, and give it, with the styles as blended."""
    first, second = st.columns(2, gap="medium")
    with first:
        strength = st.slider("Strength", 0, 100, 100, 5, format="%d %%", key="strength")
        size = st.select_slider(
            "Working size",
            SIZES,
            1024,
            format_func=lambda side: f"{side} px",
            key="size",
            help="The longest side of the picture. Larger takes longer.",
        )
    with second:
        stroke_size = st.select_slider(
            "Stroke size",
            STROKES,
            1.0,
            format_func=lambda times: f"{times:g}×",
            key="stroke",
            help="How large the strokes are, beside those that the style has learnt.",
        )
        preserve_color = st.toggle("Keep the photo's colours", key="colours")
        format = st.segmented_control(
            "Download as", list(SUFFIXES), default="JPEG", required=True, key="format"
        )
    known = named_styles()
    if len(picked) == 1 and picked[0].key in known and len(known) > 1:
        others = {key: style for key, style in known.items() if key != picked[0].key}
        with first:
            other = st.selectbox(
                "Blend with",
                [None, *others],
                format_func=lambda key: others[key].title if key else "Nothing",
                key="blend",
            )
        with second:
            share = st.slider(
                "Share of the other style",
                0,
                100,
                50,
                10,
                format="%d %%",
                key="share",
                disabled=other is None,
            )
        if other is not None:
            picked = [mixed(picked[0], others[other], share)]
    return Settings(size, stroke_size, strength / 100, preserve_color, str(format)), picked


def _results(shots: Sequence[Shot], picked: Sequence[Style], settings: Settings) -> list[Result]:
    """Put every style on every photo; what cannot be done is said, and the rest goes on."""
    jobs = [(shot, style) for shot in shots for style in picked]
    size = settings.size if len(jobs) == 1 else min(settings.size, SEVERAL)
    progress = st.empty()
    results, problems = [], []
    for number, (shot, style) in enumerate(jobs):
        words = f"Painting {shot.name}"
        if len(jobs) > 1:
            words += f", {number + 1} of {len(jobs)}"
        progress.progress(number / len(jobs), text=plain(words))
        try:
            work = paint(shot, style, size, settings.stroke_size)
            photo = _finished(work, settings)
            results.append(Result(shot, style, work, photo))
        except FastStyleError as error:
            problems.append(str(error))
    progress.empty()
    for problem in dict.fromkeys(problems):
        st.error(plain(problem), icon=":material/broken_image:")
    if size < settings.size:
        st.caption(f"Several pictures at once are made at {size} pixels.")
    return results


def _finished(work: Work, settings: Settings) -> Photo:
    return work.painted.finish(strength=settings.strength, preserve_color=settings.preserve_color)


def _show(results: Sequence[Result], settings: Settings) -> None:
    large = results[0]
    if len(results) > 1:
        number = st.selectbox(
            "In the large view",
            range(len(results)),
            format_func=lambda number: results[number].label,
            key="large",
        )
        large = results[number]
    compare(
        shown(large.work.painted.content),
        shown(large.photo),
        size=(large.photo.width, large.photo.height),
        name=large.shot.name,
        style=large.style.title,
    )
    with st.container(horizontal=True, vertical_alignment="center", key="below"):
        took = f"{large.work.seconds:.2f} s, {large.work.engine}"
        st.caption(f"{large.photo.width} × {large.photo.height} pixels in {took}")
        _download(results, settings)
    if len(results) > 1:
        with st.container(horizontal=True, gap="small", key="results"):
            for number, result in enumerate(results):
                with st.container(key=f"result-{number}", gap=None):
                    st.image(
                        shown(result.photo),
                        caption=plain(result.style.title),
                        width="stretch",
                        alt=f"{result.shot.name} in the style of {result.style.title}",
                    )


def _download(results: Sequence[Result], settings: Settings) -> None:
    # Encoded when asked for: a PNG takes as long as all the rest of a rerun. With several, what is
    # held until then is not the pictures but how to come by them, so that memory stays bounded.
    names = [file_name(r.shot.name, r.style.card.name, settings.format) for r in results]
    if len(results) == 1:
        (result,) = results
        photo = result.photo
        st.download_button(
            "Download",
            lambda: encode_image(photo, format=settings.format)[0],
            file_name=names[0],
            mime=f"image/{settings.format.lower()}",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key="download",
        )
        return
    size = min(settings.size, SEVERAL)
    jobs = [(result.shot, result.style) for result in results]

    def archive() -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
            for name, (shot, style) in zip(distinct(names), jobs, strict=True):
                work = paint(shot, style, size, settings.stroke_size)
                photo = _finished(work, settings)
                file.writestr(name, encode_image(photo, format=settings.format)[0])
        return buffer.getvalue()

    st.download_button(
        f"Download all {len(results)}",
        archive,
        file_name=archive_name(
            list(dict.fromkeys(shot.name for shot, _ in jobs)),
            list(dict.fromkeys(style.card.name for _, style in jobs)),
        ),
        mime="application/zip",
        type="primary",
        icon=":material/folder_zip:",
        on_click="ignore",
        key="download",
    )


def _sheet(shot: Shot) -> None:
    """Show all styles on a photo, when that is asked for."""
    if st.button("All styles on this photo", key="all-styles", icon=":material/grid_view:"):
        bar = st.progress(0.0, text="All styles")

        def tell(name: str, number: int, total: int) -> None:
            bar.progress((number - 1) / total, text=plain(f"{name}, {number} of {total}"))

        try:
            with gate():
                sheet = contact_sheet(
                    [read_image(shot.content, max_megapixels=MEGAPIXELS, name=shot.name).pixels],
                    list(named_styles()),
                    size=_SHEET_SIZE,
                    on_style=tell,
                )
            content, _ = encode_image(read_image(sheet), format="JPEG", quality=90)
            st.session_state.sheet = (shot.digest, content)
        except FastStyleError as error:
            st.error(plain(str(error)), icon=":material/broken_image:")
        bar.empty()
    digest, content = st.session_state.get("sheet", (None, b""))
    if digest == shot.digest:
        st.image(content, width="stretch", alt=f"All styles on {shot.name}, beside their paintings")
        st.download_button(
            "Download the sheet",
            content,
            file_name=file_name(shot.name, "all-styles", "JPEG"),
            mime="image/jpeg",
            icon=":material/download:",
            on_click="ignore",
            key="download-sheet",
        )

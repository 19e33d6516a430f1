"""What a visitor has chosen: photos and styles, within limits, for as long as the session lasts."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Protocol

import streamlit as st

from fast_style import SIZES, ModelCard, StyleModel, size_name
from fast_style.demo.backend import catalogue

MEGABYTES = 20
"""The largest photo file."""

MEGABYTES_TOGETHER = 60
"""All photos of a visitor."""

MEGAPIXELS = 50.0
"""The largest photo."""

MOST_PHOTOS = 10
MOST_STYLES = 4

_LONGEST = 120  # letters of a title that are shown: a card may hold a megabyte

OWN = "own-"
"""What the key of an uploaded style begins with."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A photo as it came.

    Attributes:
        name: its file's.
        content: the bytes of its file.
        digest: of these.
        owner: the session that it belongs to; empty for the samples, which are everybody's.
    """

    name: str
    content: bytes
    digest: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """A style that can be chosen.

    Attributes:
        key: what `Stylizer` takes; for an uploaded one, a digest of its file.
        card: what is known of it.
        model: the model, where it was uploaded.
    """

    key: str
    card: ModelCard
    model: StyleModel | None = None

    @property
    def title(self) -> str:
        """What to call it; a painting may be there in several sizes."""
        title, size = self.card.title or self.card.name or "Untitled", size_name(self.card.network)
        return title[:_LONGEST] + (f" ({size})" if size in SIZES and size != "standard" else "")

    @property
    def by(self) -> str:
        """Artist and year."""
        return ", ".join(filter(None, (self.card.artist, self.card.year)))[:_LONGEST]


class Upload(Protocol):
    """What Streamlit's uploader and camera give."""

    name: str

    def getvalue(self) -> bytes:
        """Give the bytes."""
        ...


@st.cache_resource(show_spinner=False)
def samples() -> dict[str, Shot]:
    """The photos that ship, by their names."""
    folder = Path(__file__).parent / "examples"
    if not folder.is_dir():  # a checkout
        folder = Path(__file__).parents[2] / "examples"
    return _shots_in(folder)


@st.cache_resource(show_spinner=False)
def paintings() -> dict[str, Shot]:
    """The paintings that ship, by their names."""
    return _shots_in(Path(__file__).parent / "paintings")


def _shots_in(folder: Path) -> dict[str, Shot]:
    return {
        path.stem: Shot(path.name, content, _digest(content))
        for path in sorted(folder.glob("*.jpg"))
        for content in [path.read_bytes()]
    }


def named_styles() -> dict[str, Style]:
    """The styles of the catalogue, by key."""
    return {name: Style(name, card) for name, card in catalogue()}


def styles() -> dict[str, Style]:
    """All styles that this visitor can choose, by key, the uploaded one first."""
    own: Style | None = st.session_state.get("own")
    return ({own.key: own} if own else {}) | named_styles()


def photos() -> list[Shot]:
    """The photos that are chosen: the first sample at the beginning."""
    shots: list[Shot] = st.session_state.get("photos") or list(samples().values())[:1]
    return shots


def painting() -> Shot:
    """The painting to optimise towards: the first that ships at the beginning."""
    shot: Shot = st.session_state.get("painting") or next(iter(paintings().values()))
    return shot


def chosen() -> list[Style]:
    """The styles that are chosen: those that the link names, or the first one, at the beginning."""
    known = styles()
    if "chosen" not in st.session_state:
        asked = list(dict.fromkeys(st.query_params.get_all("style")))
        missing = [key for key in asked if key not in known]
        if missing:
            st.session_state.notice = (
                f"There is no style {missing[0]!r} here; the others are below."
            )
        choose([key for key in asked if key in known][:MOST_STYLES], link=False)
        st.session_state.several = len(st.session_state.chosen) > 1
    found = [known[key] for key in st.session_state.chosen if key in known]
    return found or list(known.values())[:1]


def choose(keys: Sequence[str], *, link: bool = True) -> None:
    """Choose styles.

    Args:
        keys: theirs.
        link: whether the page's address is to carry the choice.
    """
    st.session_state.chosen = list(keys)
    if link:
        st.query_params["style"] = [key for key in keys if not key.startswith(OWN)]


def pick(key: str) -> None:
    """Take the click on a style: alone, or one more where several are compared."""
    if not st.session_state.get("several"):
        choose([key])
        return
    before = [style.key for style in chosen()]
    after = [one for one in before if one != key]
    if len(after) == len(before):
        after.append(key)
    if len(after) > MOST_STYLES:
        st.session_state.notice = f"At most {MOST_STYLES} styles can be compared at once."
        after = before
    choose(after or before)


def compare_or_not() -> None:
    """Keep only one style when comparing ends."""
    if not st.session_state.several:
        choose([style.key for style in chosen()[:1]])


def take(uploads: Iterable[Upload]) -> None:
    """Take photos in; what is beyond the limits is left out, and said."""
    shots: dict[str, Shot] = {}
    together = 0
    notes = []
    for upload in uploads:
        content, name = upload.getvalue(), PurePath(upload.name).name
        together += len(content)
        if len(shots) == MOST_PHOTOS:
            notes.append(f"At most {MOST_PHOTOS} photos go at once; the others are left out.")
            break
        if len(content) > MEGABYTES * 1e6 or together > MEGABYTES_TOGETHER * 1e6:
            notes.append(
                f"{name} is left out: a photo may have {MEGABYTES} MB, and all together "
                f"{MEGABYTES_TOGETHER}."
            )
            together -= len(content)
            continue
        shot = _own_shot(name, content)
        shots.setdefault(shot.digest, shot)
    st.session_state.photos = list(shots.values())
    if notes:
        st.session_state.notice = " ".join(dict.fromkeys(notes))


def take_sample(name: str) -> None:
    """Take a photo that ships."""
    st.session_state.photos = [samples()[name]]


def take_painting(upload: Upload | None) -> None:
    """Take a painting in, or forget the one before; its uploader has seen to its size."""
    if upload is None:
        st.session_state.pop("painting", None)
    else:
        st.session_state.painting = _own_shot(PurePath(upload.name).name, upload.getvalue())


def take_sample_painting(name: str) -> None:
    """Take a painting that ships."""
    st.session_state.painting = paintings()[name]


def take_model(model: StyleModel, content: bytes) -> Style:
    """Take an uploaded model in, and choose it."""
    style = Style(f"{OWN}{_digest(content)}", model.card, model)
    st.session_state.own = style
    st.session_state.several = False
    choose([style.key])
    return style


def leave_model() -> None:
    """Forget the uploaded model."""
    st.session_state.pop("own", None)


def mixed(first: Style, second: Style, share: int) -> Style:
    """A mixture of two styles of the catalogue.

    Args:
        first: one.
        second: the other.
        share: of the second, in per cent.
    """
    if share in (0, 100):
        return second if share else first
    key = f"{first.key}:{1 - share / 100:.2f},{second.key}:{share / 100:.2f}"
    names = f"{first.card.name}+{second.card.name}"
    card = replace(first.card, name=names, title=f"{first.title} + {second.title}")
    return Style(key, card)


def notice() -> str | None:
    """What the visitor is to be told once."""
    text: str | None = st.session_state.pop("notice", None)
    return text


def _own_shot(name: str, content: bytes) -> Shot:
    owner = st.session_state.setdefault("owner", secrets.token_hex(8))
    return Shot(name, content, _digest(content), owner)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

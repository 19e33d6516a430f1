"""The demo's gallery: previews of the visitor's photo, sizes of one painting, the search."""

import threading
import time

import pytest

st = pytest.importorskip("streamlit", reason="the demo needs the extra demo")

from streamlit.testing.v1 import AppTest  # noqa: E402

import fast_style  # noqa: E402
from fast_style.demo import gallery, previews, session, styles, turns  # noqa: E402
from fast_style.models.model_file import save_model  # noqa: E402
from tests.conftest import SMALLEST, STYLE, make_card, make_weights  # noqa: E402
from tests.demo_page import (  # noqa: E402
    FILL,
    OTHER,
    PAGE,
    SAMPLE,
    get_text,
    link,
    photo_bytes,
    picture,
    run,
    slider,
    two_styles,
)

SIZES = ("tiny", "standard", "full")


@pytest.fixture
def folder(workplace, model_file, monkeypatch):
    folder = two_styles(workplace, model_file, monkeypatch)
    monkeypatch.setattr(gallery.Gallery, "fill", FILL)
    return folder


@pytest.fixture
def made(monkeypatch):
    """Record the styles of the previews that are made."""
    made = []
    paint = fast_style.Stylizer.paint

    def record(self, photo, options, guides=None):
        if options.size == previews.PREVIEW_SIDE:
            made.append(self.card.name)
        return paint(self, photo, options, guides)

    monkeypatch.setattr(fast_style.Stylizer, "paint", record)
    return made


def save_sizes(folder, sizes=SIZES) -> None:
    """Save a painting's styles in several sizes, without training them."""
    for seed, size in enumerate(sizes):
        name = "mill" if size == "standard" else f"mill-{size}"
        config = fast_style.SIZES[size]
        card = make_card(name, config=config, title="The Mill", artist="Rembrandt", year="1645")
        save_model(folder / f"{name}.safetensors", card, make_weights(config, seed))
    st.cache_data.clear()


def open_gallery(search: str, *styles: str) -> AppTest:
    """Open the page with a search, so that few previews are made."""
    at = AppTest.from_file(PAGE)
    at.session_state["search"] = search
    at.query_params["style"] = list(styles or (STYLE,))
    return run(at)


def get_alts(at: AppTest) -> list[str]:
    return [image.proto.imgs[0].alt for image in at.get("imgs") or at.get("image")]


def count_picks(at: AppTest) -> int:
    return sum(button.key.startswith("pick-") for button in at.button)


class TestPreviews:
    def test_cards_show_the_photo_in_each_style(self, folder, made):
        at = open_gallery("waves")
        assert made == [OTHER]
        assert "Preview: astronaut.jpg as Waves" in get_alts(at)
        image = session.load_sample_photos()["astronaut"]
        shown = previews.find_preview(image, styles.list_registered_styles()[OTHER])
        small = fast_style.resize_long_side(
            fast_style.read_image(SAMPLE, at_least=previews.PREVIEW_SIDE).pixels,
            previews.PREVIEW_SIDE,
        )
        wanted = fast_style.Stylizer(OTHER).stylize_photo(fast_style.Photo(small))
        assert shown == fast_style.encode_image(wanted, format="JPEG", quality=85)[0]

    def test_a_rerun_makes_none_again(self, folder, made):
        at = open_gallery("waves")
        run(at.slider(key="strength").set_value(40))
        assert made == [OTHER]
        assert "Preview: astronaut.jpg as Waves" in get_alts(at)

    def test_a_new_photo_gets_its_own(self, folder, made):
        at = open_gallery("waves")
        upload = ("mine.png", photo_bytes(1), "image/png")
        run(at.file_uploader(key="upload").set_value([upload]))
        assert made == [OTHER, OTHER]
        assert "Preview: mine.png as Waves" in get_alts(at)
        assert not any("Preview: astronaut.jpg" in alt for alt in get_alts(at))

    def test_visitors_share_none_of_an_upload(self, folder, made):
        upload = ("mine.png", photo_bytes(2), "image/png")
        first, second = open_gallery("waves"), open_gallery("waves")
        assert made == [OTHER]  # those of the samples are shared
        for at in (first, second):
            run(at.file_uploader(key="upload").set_value([upload]))
        assert made == [OTHER] * 3

    def test_a_broken_photo_leaves_the_paintings(self, folder, made):
        at = open_gallery("waves")
        upload = ("bad.jpg", b"\xff\xd8\xffnothing", "image/jpeg")
        run(at.file_uploader(key="upload").set_value([upload]))
        assert made == [OTHER]
        assert not any(alt.startswith("Preview") for alt in get_alts(at))

    def test_a_broken_style_keeps_its_painting(self, folder, monkeypatch):
        get = fast_style.StylizerCache.get

        def fail(self, style):
            if style == OTHER:
                raise fast_style.FastStyleError("no")
            return get(self, style)

        monkeypatch.setattr(fast_style.StylizerCache, "get", fail)
        at = open_gallery("waves")
        assert "Preview: astronaut.jpg as Waves" not in get_alts(at)
        assert slider(at)["width"] == 512


class TestSizesOfOnePainting:
    def test_they_are_one_card_with_a_choice(self, folder):
        save_sizes(folder)
        at = open_gallery("rembrandt", "mill")
        assert count_picks(at) == 1
        assert at.button(key="pick-mill").label.startswith("✓ **The Mill**")
        assert at.session_state.network == "standard"
        standard = picture(at)
        session_sizes = choose_network(at, "full")
        assert link(session_sizes) == ["mill-full"]
        assert picture(session_sizes) != standard
        assert session_sizes.button(key="pick-mill").label.startswith("✓ **The Mill**")

    def test_a_link_names_a_size(self, folder):
        save_sizes(folder)
        at = open_gallery("rembrandt", "mill-tiny")
        assert at.session_state.network == "tiny"
        assert "in the style of The Mill (tiny)" in slider(at)["after_alt"]

    def test_without_a_choice_there_is_no_control(self, folder):
        at = open_gallery("waves", OTHER)
        assert "network" not in at.session_state

    def test_groups(self):
        def style(name, size, **words):
            config = fast_style.SIZES.get(size, SMALLEST)
            return styles.Style(name, make_card(name, config=config, **words))

        mill, other = {"title": "Mill", "artist": "R", "year": "1645"}, {"title": "Waves"}
        given = [
            style("mill-full", "full", **mill),
            style("waves", "standard", **other),
            style("mill", "standard", **mill),
            style("again", "standard", **mill),
            style("custom", "", **mill),
            style("a", "tiny", title=""),
            style("b", "full", title=""),
        ]
        groups = styles.group_styles(given)
        names = [[style.key for style in group.sizes.values()] for group in groups]
        assert names == [["mill-full", "mill"], ["waves"], ["again"], ["custom"], ["a"], ["b"]]
        assert groups[0].first.key == "mill"
        assert [group.title for group in groups] == [
            "Mill", "Waves", "Mill", "Mill", "a (tiny)", "b (full)",
        ]  # fmt: skip


def choose_network(at: AppTest, size: str) -> AppTest:
    (control,) = [one for one in at.get("button_group") if one.key == "network"]
    return run(control.set_value(size))


class TestSearch:
    @pytest.mark.parametrize(
        ("words", "count"),
        [("rembrandt", 1), ("REMBRANDT mill", 1), ("1645", 1), ("waves mill", 0)],
    )
    def test_all_words_must_be_there(self, folder, words, count):
        save_sizes(folder, ["tiny"])
        at = open_gallery(words)
        assert count_picks(at) == count
        assert ("No style has all of these words" in get_text(at)) == (count == 0)

    def test_accents_do_not_matter(self):
        card = make_card("cafe", title="Le Café", artist="Édouard")
        group = styles.StyleGroup({"": styles.Style("cafe", card)})
        for words in ("cafe", "CAFÉ", "edouard le"):
            assert gallery.matches(group, words)
        assert not gallery.matches(group, "monet")

    def test_tags_are_words_too(self):
        style = styles.Style("cafe", make_card("cafe"), tags=("ink", "bold"))
        group = styles.StyleGroup({"": style})
        assert gallery.matches(group, "bold")
        assert not gallery.matches(group, "gentle")

    def test_the_chosen_style_stays_chosen(self, folder):
        at = open_gallery("wheat", OTHER)
        before = picture(at)
        run(at.text_input(key="search").input("waves"))
        assert count_picks(at) == 1
        assert picture(at) == before


def test_asked_for_pictures_come_before_previews():
    order, own = [], turns.Turns()
    started = threading.Barrier(5)

    def enter(kind):
        started.wait()
        time.sleep(0.05 if kind == "asked" else 0)  # they come last
        with getattr(own, kind)():
            order.append(kind)

    kinds = ["spare", "spare", "asked", "asked"]
    threads = [threading.Thread(target=enter, args=(kind,)) for kind in kinds]
    with own.asked():
        for thread in threads:
            thread.start()
        started.wait()
        time.sleep(0.2)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["asked", "asked", "spare", "spare"]


def test_who_gives_up_waiting_leaves_the_queue():
    def give_up():
        raise InterruptedError

    own = turns.Turns(give_up)
    with own.asked():
        for wait in (own.asked, own.spare):
            with pytest.raises(InterruptedError), wait():
                raise AssertionError
    for wait in (own.asked, own.spare):
        with wait():
            pass

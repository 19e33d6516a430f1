"""Reading every mode, bit depth and profile as 8-bit sRGB, compared with arithmetic done here."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from fast_style.errors import UnreadableImageError
from fast_style.images import Photo, encode_image, read_image

# Columns: the primaries in XYZ, adapted to D50, as in the profiles of Adobe and of the ICC.
ADOBE_RGB = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
GAMMA = 563 / 256


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def xyz(values):
    return b"XYZ \0\0\0\0" + fixed(*values)


def curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def profile(space, connection, kind, tags):
    """Build an ICC profile (version 2.1) byte by byte."""
    text = b"test\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(79),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        **tags,
    }
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    rest = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I4sI4s4s4s", 128 + len(rest), b"\0\0\0\0", 0x02100000, kind, space,
                       connection)  # fmt: skip
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return head + fixed(0.9642, 1.0, 0.8249) + bytes(48) + rest


def rgb_profile(primaries, gamma):
    tags = {name + b"XYZ": xyz(primaries[:, at]) for at, name in enumerate((b"r", b"g", b"b"))}
    tags |= {name + b"TRC": curve(gamma) for name in (b"r", b"g", b"b")}
    return profile(b"RGB ", b"XYZ ", b"mntr", tags)


def encoded_srgb(linear):
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return curved * 255


def adobe_to_srgb(pixels):
    linear = (pixels / 255.0) ** GAMMA
    return encoded_srgb(linear @ ADOBE_RGB.T @ np.linalg.inv(SRGB).T)


def lab_to_srgb(lightness, a, b):
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    whole = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    return encoded_srgb(np.linalg.inv(SRGB) @ (whole * [0.9642, 1.0, 0.8249]))


def test_wide_gamut_profile_is_converted_and_restored():
    icc = rgb_profile(ADOBE_RGB, GAMMA)
    pixels = np.random.default_rng(2).integers(60, 190, (40, 50, 3), dtype=np.uint8)
    photo = read_image(saved(Image.fromarray(pixels), icc_profile=icc))
    expected = adobe_to_srgb(pixels)
    assert np.abs(photo.pixels - expected).max() < 1.6
    assert np.abs(expected - pixels).max() > 10  # the conversion matters
    assert photo.icc_profile == icc
    for format in ("PNG", "TIFF"):
        data, notes = encode_image(photo, format=format)
        assert notes == ()
        with Image.open(io.BytesIO(data)) as again:
            assert again.info["icc_profile"] == icc
            inside = ((expected > 1) & (expected < 254)).all(axis=2)
            difference = np.abs(np.asarray(again).astype(int) - pixels)
    assert inside.sum() > 500
    assert difference[inside].max() <= 2
    for format in ("JPEG", "WEBP", "AVIF"):
        assert read_image(encode_image(photo, format=format)[0]).icc_profile == icc


def test_wide_gamut_profile_with_alpha_is_restored():
    icc = rgb_profile(ADOBE_RGB, GAMMA)
    pixels = np.random.default_rng(2).integers(100, 150, (9, 8, 4), dtype=np.uint8)
    photo = read_image(saved(Image.fromarray(pixels), icc_profile=icc))
    data, _ = encode_image(photo, format="PNG")
    with Image.open(io.BytesIO(data)) as image:
        again = np.asarray(image).astype(int)
    assert np.array_equal(again[..., 3], pixels[..., 3])
    assert np.abs(again - pixels).max() <= 2


def test_srgb_profile_changes_nothing_and_is_kept():
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = noise(20, 20, 3)
    photo = read_image(saved(Image.fromarray(pixels), icc_profile=icc))
    assert np.array_equal(photo.pixels, pixels)
    assert photo.icc_profile == icc
    data, _ = encode_image(photo, format="PNG")
    with Image.open(io.BytesIO(data)) as again:
        assert np.array_equal(np.asarray(again), pixels)
        assert again.info["icc_profile"] == icc


def test_gray_profile_is_applied():
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    icc = profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": curve(1.8)})
    photo = read_image(saved(Image.fromarray(gray), icc_profile=icc))
    expected = encoded_srgb((gray / 255.0) ** (round(1.8 * 256) / 256))
    assert np.abs(photo.pixels - expected[..., None]).max() < 1.6
    assert photo.icc_profile is None


def cmyk_profile():
    """Build a table with two points an axis: the Lab colours of the 16 combinations of inks."""
    corners = np.zeros((2, 2, 2, 2, 3))
    for index in np.ndindex(2, 2, 2, 2):
        c, m, y, k = index
        lightness = 0 if k else 100 - 25 * (c + m + y)
        corners[index] = (lightness, 0 if k else 20 * (m - c), 0 if k else 20 * (y - m))
    code = np.rint(np.stack([corners[..., 0] * 2.55, corners[..., 1] + 128, corners[..., 2] + 128],
                            -1)).astype(np.uint8)  # fmt: skip
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * 4 + code.tobytes() + ramp * 3
    return profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": table}), corners


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_profile_is_applied(format):
    icc, corners = cmyk_profile()
    inks = np.array(list(np.ndindex(2, 2, 2, 2)), np.uint8) * 255
    pixels = np.repeat(np.repeat(inks[None], 16, 0), 16, 1)
    data = saved(Image.frombytes("CMYK", (256, 16), pixels.tobytes()), format, icc_profile=icc,
                 **({"quality": 100} if format == "JPEG" else {}))  # fmt: skip
    photo = read_image(data)
    expected = [lab_to_srgb(*corners.reshape(16, 3)[at]) for at in range(16)]
    assert np.abs(photo.pixels[8, 8::16] - np.array(expected)).max() < 4
    assert photo.icc_profile is None
    assert photo.notes == ()


def test_cmyk_without_profile_or_adobe_marker():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    data = saved(cmyk, "JPEG", quality=100)
    photo = read_image(data)
    assert np.abs(photo.pixels[8, 8].astype(int) - (255, 0, 0)).max() < 3
    assert "CMYK" in photo.notes[0]
    at = data.index(b"\xff\xeeADOBE"[:2] + b"\0\x0eAdobe")
    plain = read_image(data[:at] + data[at + 16 :])  # 0 now means no ink: the complement
    assert np.abs(plain.pixels[8, 8].astype(int) - (0, 0, 0)).max() < 3
    tiff = read_image(saved(cmyk, "TIFF"))
    assert np.array_equal(tiff.pixels[0, 0], (255, 0, 0))


@pytest.mark.parametrize("icc", [b"nonsense", rgb_profile(ADOBE_RGB, GAMMA)[:300], bytes(200)])
def test_broken_profile_is_ignored_with_a_note(icc):
    pixels = noise(5, 5, 3)
    photo = read_image(saved(Image.fromarray(pixels), icc_profile=icc))
    assert np.array_equal(photo.pixels, pixels)
    assert photo.icc_profile is None
    assert "colour profile is broken: ignored" in photo.notes[0]


def test_profile_of_another_kind_is_ignored_with_a_note():
    pixels = noise(5, 5, 3)
    photo = read_image(saved(Image.fromarray(pixels), icc_profile=cmyk_profile()[0]))
    assert np.array_equal(photo.pixels, pixels)
    assert photo.icc_profile is None
    assert "for CMYK and not for RGB" in photo.notes[0]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_gray_is_rounded_to_8_bits(format):
    deep = np.random.default_rng(4).integers(0, 65536, (50, 60), dtype=np.uint16)
    deep[0, :6] = [0, 65535, 127, 128, 129, 257]
    photo = read_image(saved(Image.fromarray(deep), format))
    assert np.array_equal(photo.pixels, np.rint(deep / 257)[..., None].repeat(3, 2))
    big = read_image(
        saved(Image.frombytes("I;16B", (60, 50), deep.astype(">u2").tobytes()), "TIFF")
    )
    assert np.array_equal(big.pixels, photo.pixels)


def test_16_bit_pgm_and_32_bit_integers_are_scaled():
    deep = np.random.default_rng(4).integers(0, 65536, (20, 30), dtype=np.uint16)
    for data in (
        b"P5 30 20 65535\n" + deep.astype(">u2").tobytes(),
        saved(Image.fromarray(deep.astype(np.int32)), "TIFF"),
    ):
        assert np.array_equal(read_image(data).pixels[..., 1], np.rint(deep / 257))
    wide = np.array([[-1000, 0, 200_000_000]], np.int32)
    photo = read_image(saved(Image.fromarray(wide), "TIFF"))
    assert np.array_equal(photo.pixels[0, :, 0], np.rint((wide[0] + 1000.0) * 255 / 200_001_000))
    assert "stretched" in photo.notes[0]


def test_16_bit_rgb_png_and_its_colour_key():
    import zlib

    deep = np.random.default_rng(4).integers(0, 65536, (8, 9, 3), dtype=np.uint16)
    deep[2, 3] = (1000, 2000, 3000)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", 9, 8, 16, 2, 0, 0, 0)),
        (b"tRNS", struct.pack(">3H", 1000, 2000, 3000)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    photo = read_image(data)
    assert np.abs(photo.pixels - deep / 257).max() <= 1  # Pillow keeps the upper byte
    assert photo.alpha[2, 3] == 0
    assert (photo.alpha == 0).sum() == 1


def test_float_tiff_is_scaled_or_stretched():
    unit = np.random.default_rng(5).random((20, 30)).astype(np.float32)
    photo = read_image(saved(Image.fromarray(unit), "TIFF"))
    assert np.array_equal(photo.pixels[..., 2], np.rint(unit.astype(np.float64) * 255))
    wide = unit * 5 - 1
    photo = read_image(saved(Image.fromarray(wide), "TIFF"))
    low, high = float(wide.min()), float(wide.max())
    expected = (wide.astype(np.float64) - low) / (high - low) * 255
    assert np.abs(photo.pixels[..., 0] - expected).max() < 0.5001
    assert "stretched" in photo.notes[0]
    for value in (np.nan, np.inf, -np.inf):
        unit[3, 4] = value
        with pytest.raises(UnreadableImageError, match="NaN or infinity"):
            read_image(saved(Image.fromarray(unit), "TIFF"))


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_modes_with_alpha_give_straight_alpha(mode):
    straight = noise(9, 8, 4)
    if mode in ("LA", "La"):
        straight[..., 1] = straight[..., 2] = straight[..., 0]
    image = Image.fromarray(straight)
    if mode == "PA":
        image = image.quantize(16).convert("PA")
        image.putalpha(Image.fromarray(straight[..., 3]))
    else:
        image = image.convert("LA" if mode == "La" else mode)
        image = image.convert(mode)
    photo = read_image(image)
    expected = np.asarray(image.convert("LA") if mode == "La" else image.convert("RGBA"))
    assert np.array_equal(photo.alpha, straight[..., 3])
    assert np.array_equal(photo.pixels, expected[..., :3] if mode != "La" else expected[..., :1]
                          .repeat(3, 2))  # fmt: skip


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBX", "CMYK"])
def test_colour_modes_are_converted(mode):
    color = (180, 90, 60)
    image = Image.new("RGB", (6, 5), color)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
        )
    else:
        image = image.convert(mode)
    photo = read_image(saved(image, "TIFF") if mode in ("LAB", "CMYK") else image)
    assert np.abs(photo.pixels.astype(int) - color).max() <= 3
    assert photo.alpha is None


def test_one_bit_and_palette_are_converted():
    bits = noise(9, 20) > 127
    photo = read_image(saved(Image.fromarray(bits)))
    assert np.array_equal(photo.pixels, np.where(bits, 255, 0)[..., None].repeat(3, 2))
    palette = noise(16, 3, seed=1)
    index = noise(9, 20) % 16
    image = Image.fromarray(index).convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(palette.tobytes())
    assert np.array_equal(read_image(saved(image)).pixels, palette[index])
    opacity = noise(16, seed=2)
    for key, alpha in ((5, np.where(index == 5, 0, 255)), (opacity.tobytes(), opacity[index])):
        photo = read_image(saved(image, transparency=key))
        assert np.array_equal(photo.pixels, palette[index])
        assert np.array_equal(photo.alpha, alpha)
    photo = read_image(saved(image, "GIF", transparency=5))
    assert np.array_equal(photo.alpha, np.where(index == 5, 0, 255))


def test_colour_keys_become_alpha():
    pixels = noise(9, 8, 3) // 64 * 64
    key = tuple(int(part) for part in pixels[4, 4])
    photo = read_image(saved(Image.fromarray(pixels), transparency=key))
    assert np.array_equal(photo.alpha == 0, (pixels == key).all(2))
    assert np.array_equal(photo.pixels, pixels)
    gray = pixels[..., 0]
    photo = read_image(saved(Image.fromarray(gray), transparency=64))
    assert np.array_equal(photo.alpha, np.where(gray == 64, 0, 255))
    bits = gray > 100
    photo = read_image(saved(Image.fromarray(bits), transparency=1))
    assert np.array_equal(photo.alpha == 0, bits)


def test_first_frame_or_page_is_read_with_a_note():
    frames = [Image.fromarray(noise(9, 8, 3, seed=at)) for at in range(3)]
    for format, words in (
        ("GIF", "animated, 3 frames: only the first is used"),
        ("WEBP", "animated, 3 frames: only the first is used"),
        ("PNG", "animated, 3 frames: only the first is used"),
        ("TIFF", "3 pages: only the first is used"),
    ):
        options = {"lossless": True} if format == "WEBP" else {}
        data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
        photo = read_image(data)
        assert photo.notes == (words,)
        if format != "GIF":
            assert np.array_equal(photo.pixels, np.asarray(frames[0]))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.booleans(), st.sampled_from(["PNG", "TIFF"]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_lossless_formats_round_trip(height, width, with_alpha, format, seed):
    both = noise(height, width, 4, seed=seed)
    photo = Photo(both[..., :3], both[..., 3] if with_alpha else None)
    again = read_image(encode_image(photo, format=format)[0])
    assert np.array_equal(again.pixels, photo.pixels)
    assert (again.alpha is not None) == with_alpha
    if with_alpha:
        assert np.array_equal(again.alpha, photo.alpha)
    assert again.format == format

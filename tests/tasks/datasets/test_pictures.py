"""Every kind of image file that is promised is read as what it shows."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tasks.datasets.pictures import UnreadableError, read_picture

COLOUR = (200, 100, 50)
GREY = 124
"""What Pillow, by ITU-R 601, makes of it."""
SIXTEEN = np.array([0, 257, 32_896, 65_535], dtype=np.uint16)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content: bytes, channels: int) -> np.ndarray:
    return np.asarray(read_picture(io.BytesIO(content), channels))


def flat(mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (16, 8), COLOUR).convert(mode)


KINDS = {
    "PNG": encoded(flat(), "PNG"),
    "PNG with a palette": encoded(flat().quantize(8), "PNG"),
    "PNG with alpha": encoded(flat("RGBA"), "PNG"),
    "JPEG": encoded(flat(), "JPEG", quality=95),
    "JPEG of print colours": encoded(flat("CMYK"), "JPEG", quality=95),
    "JPEG of a telephone, with a second image": encoded(flat(), "MPO", save_all=True, append_images=[flat()]),
    "WebP": encoded(flat(), "WEBP"),
    "WebP without loss": encoded(flat("RGBA"), "WEBP", lossless=True),
    "BMP": encoded(flat(), "BMP"),
    "BMP with a palette": encoded(flat().quantize(8), "BMP"),
    "TIFF": encoded(flat(), "TIFF"),
    "TIFF with a palette": encoded(flat().quantize(8), "TIFF"),
    "TIFF with alpha": encoded(flat("RGBA"), "TIFF"),
    "TIFF of print colours": encoded(flat("CMYK"), "TIFF"),
    "TIFF of video colours": encoded(flat("YCbCr"), "TIFF"),
    "TIFF packed": encoded(flat(), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_those_of_the_file_and_grey_is_their_brightness(kind: str) -> None:
    colour, grey = read(KINDS[kind], 3), read(KINDS[kind], 1)
    np.testing.assert_allclose(colour, np.broadcast_to(COLOUR, (8, 16, 3)), atol=4)
    np.testing.assert_allclose(grey, np.full((8, 16), GREY), atol=2)


GREYS = {
    "PNG": encoded(flat("L"), "PNG"),
    "PNG with alpha": encoded(flat("LA"), "PNG"),
    "JPEG": encoded(flat("L"), "JPEG", quality=95),
    "BMP": encoded(flat("L"), "BMP"),
    "TIFF": encoded(flat("L"), "TIFF"),
    "TIFF with alpha": encoded(flat("LA"), "TIFF"),
}


@pytest.mark.parametrize("kind", GREYS)
def test_grey_files_are_grey_in_one_channel_or_in_three(kind: str) -> None:
    np.testing.assert_allclose(read(GREYS[kind], 1), np.full((8, 16), GREY), atol=1)
    np.testing.assert_allclose(read(GREYS[kind], 3), np.full((8, 16, 3), GREY), atol=1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_bit_for_each_pixel_is_black_or_white(kind: str) -> None:
    drawn = np.arange(16).reshape(2, 8) % 3 == 0
    np.testing.assert_array_equal(read(encoded(Image.fromarray(drawn), kind), 1), drawn * 255)


def png(colour_type: int, row: list[int], width: int) -> bytes:
    """A PNG of one row with 16 bits a channel, which Pillow writes of grey alone."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, 16, colour_type, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + np.array(row, dtype=">u2").tobytes()))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def tiff(values: np.ndarray, samples: int, photometric: int, order: str) -> bytes:
    """A TIFF of one row with 16 bits a channel, in either order of bytes."""
    pixels, width = values.astype(f"{order}u2").tobytes(), len(values) // samples
    bits = struct.pack(f"{order}{samples}H", *[16] * samples)
    start = 8 + 2 + 12 * 9 + 4
    where = {258: start if samples > 2 else None, 273: start + len(bits)}
    tags = [(256, width), (257, 1), (258, 16), (259, 1), (262, photometric), (273, 0), (277, samples), (278, 1),
            (279, len(pixels))]  # fmt: skip
    file = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    for tag, value in tags:
        count = samples if tag == 258 else 1
        if (place := where.get(tag)) is not None:
            file += struct.pack(f"{order}HHII", tag, 3 if tag == 258 else 4, count, place)
        else:
            file += struct.pack(f"{order}HHIHH", tag, 3, count, value, 0)
    return file + struct.pack(f"{order}I", 0) + bits + pixels


class TestSixteenBits:
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_grey_tiff_in_either_order_of_bytes(self, order: str) -> None:
        np.testing.assert_array_equal(read(tiff(SIXTEEN, 1, 1, order), 1), [[0, 1, 128, 255]])

    def test_grey_tiff_in_which_0_is_white(self) -> None:
        np.testing.assert_array_equal(read(tiff(SIXTEEN, 1, 0, "<"), 1), [[255, 254, 127, 0]])

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_colour_tiff_in_either_order_of_bytes(self, order: str) -> None:
        values = np.array([0, 257, 65_535, 32_896, 65_535, 0])
        np.testing.assert_array_equal(read(tiff(values, 3, 2, order), 3), [[[0, 1, 255], [128, 255, 0]]])

    def test_png_in_colour_with_alpha_and_grey_with_alpha(self) -> None:
        np.testing.assert_array_equal(read(png(2, [0, 257, 65_535], 1), 3), [[[0, 1, 255]]])
        np.testing.assert_array_equal(read(png(4, [32_896, 65_535, 0, 0], 2), 1), [[128, 255]])
        clear = [32_896, 0, 65_535, 65_535, 1, 1, 1, 0]
        np.testing.assert_array_equal(read(png(6, clear, 2), 3), [[[128, 0, 255], [255, 255, 255]]])

    def test_a_picture_to_be_turned(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.fromarray(SIXTEEN.reshape(2, 2))
        np.testing.assert_array_equal(read(encoded(image, "PNG", exif=exif), 1), [[128, 0], [255, 1]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_of_exif_is_made_upright(kind: str) -> None:
    upright = np.zeros((16, 24), dtype=np.uint8)
    upright[:8, :8] = 255
    upright[:8, 8:16] = 128
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, 3),
    }  # fmt: skip
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB" if kind == "WEBP" else "L")
        options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
        found = read(encoded(image, kind, exif=exif, **options), 1)
        np.testing.assert_allclose(found, upright, atol=3, err_msg=f"orientation {orientation}")


def test_of_a_moving_picture_the_first_frame_is_read() -> None:
    moving = encoded(flat(), "WEBP", save_all=True, append_images=[Image.new("RGB", (16, 8))], lossless=True)
    np.testing.assert_array_equal(read(moving, 3)[0, 0], COLOUR)


def test_another_kind_of_file_is_refused_with_those_that_are_read() -> None:
    with pytest.raises(UnreadableError, match=r"not an image \(PNG, JPEG, WEBP, BMP, TIFF\)"):
        read(encoded(flat(), "GIF"), 3)

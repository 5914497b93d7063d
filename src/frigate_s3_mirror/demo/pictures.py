"""Draws the pictures that a simulated camera takes: a street by day or night with something in a box.

Knows nothing of events, files or Frigate; the same arguments always give the same bytes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 360
THUMBNAIL_HEIGHT = 175
_HORIZON = 215
_ENCODERS: dict[str, tuple[str, dict[str, int]]] = {
    "jpg": ("JPEG", {"quality": 75}),
    "png": ("PNG", {"compress_level": 1}),
    "webp": ("WEBP", {"quality": 60, "method": 0}),
}


@dataclass(frozen=True)
class Light:
    """The colours of a time of day."""

    sky: tuple[str, str]
    ground: str
    road: str
    wall: str
    window: str
    lamp: str


_DAY = Light(("#5b92c9", "#dfe9ee"), "#7d8f62", "#8b8c8d", "#b9a48b", "#46566a", "#f4e9b0")
_NIGHT = Light(("#070b18", "#26304a"), "#1a231c", "#2b2d31", "#3a3835", "#f2c668", "#f2e3b0")


def picture(camera: str, label: str, taken_at: datetime, ending: str, *, annotated: bool) -> bytes:
    """One picture as "jpg", "png" or "webp" bytes; `annotated` adds the box, the label and the time."""
    image = _scene(camera, _light(taken_at)).copy()
    draw = ImageDraw.Draw(image)
    box = _draw_subject(draw, camera, label, taken_at)
    if annotated:
        _draw_annotation(draw, box, camera, label, taken_at)
    return _encode(image, ending)


def thumbnail(camera: str, label: str, taken_at: datetime, ending: str) -> bytes:
    """The small square around the subject that Frigate shows in its lists."""
    image = _scene(camera, _light(taken_at)).copy()
    left, top, right, bottom = _draw_subject(ImageDraw.Draw(image), camera, label, taken_at)
    half = (bottom - top) * 0.8
    x, y = (left + right) / 2, (top + bottom) / 2
    corners = (int(x - half), int(y - half), int(x + half), int(y + half))
    return _encode(image.crop(corners).resize((THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT)), ending)


def redraw(content: bytes, *, quality: int, has_box: bool) -> bytes | None:
    """A picture as another JPEG, with or without a box drawn into it; None if `content` is no picture."""
    try:
        image = Image.open(BytesIO(content)).convert("RGB")
    except OSError:
        return None
    if has_box:
        width, height = image.size
        ImageDraw.Draw(image).rectangle((width // 3, height // 3, width // 2, height // 2), outline="#ffb000", width=2)
    stream = BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _light(taken_at: datetime) -> Light:
    return _DAY if 7 <= taken_at.hour < 19 else _NIGHT


@lru_cache(maxsize=32)
def _scene(camera: str, light: Light) -> Image.Image:
    """What this camera always sees. Drawn once: it is the slow part of a picture."""
    sky = Image.new("RGB", (1, 2))
    sky.putpixel((0, 0), _rgb(light.sky[0]))
    sky.putpixel((0, 1), _rgb(light.sky[1]))
    image = sky.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    shift = zlib.crc32(camera.encode()) % 120
    draw.rectangle((0, _HORIZON, WIDTH, HEIGHT), fill=light.ground)
    draw.polygon([(270 - shift, _HORIZON), (330 - shift, _HORIZON), (620, HEIGHT), (160, HEIGHT)], fill=light.road)
    for left in (40 + shift, 300 + shift):
        _draw_house(draw, left, light)
    draw.line((590 - shift, 70, 590 - shift, 260), fill=light.road, width=4)
    draw.ellipse((580 - shift, 60, 600 - shift, 80), fill=light.lamp)
    return image


def _draw_house(draw: ImageDraw.ImageDraw, left: int, light: Light) -> None:
    draw.rectangle((left, 130, left + 130, _HORIZON + 12), fill=light.wall)
    draw.polygon([(left - 12, 130), (left + 65, 82), (left + 142, 130)], fill=light.road)
    for column in (18, 78):
        draw.rectangle((left + column, 150, left + column + 32, 182), fill=light.window, outline=light.road)


def _draw_subject(draw: ImageDraw.ImageDraw, camera: str, label: str, taken_at: datetime) -> tuple[int, int, int, int]:
    """Draw a person, a car, a dog or a parcel where chance put it; return the box around it."""
    chance = zlib.crc32(f"{camera}{label}{taken_at.timestamp():.6f}".encode())
    colour = ("#c8553d", "#3d6fc8", "#d6c04a", "#8f5bbd", "#e0e0dc")[chance % 5]
    x, y = 170 + chance % 300, 190 + chance // 7 % 60
    if label == "car":
        draw.rounded_rectangle((x, y + 30, x + 130, y + 66), 12, fill=colour)
        draw.rounded_rectangle((x + 24, y + 8, x + 100, y + 40), 12, fill=colour)
        for wheel in (22, 86):
            draw.ellipse((x + wheel, y + 52, x + wheel + 24, y + 76), fill="#15171a")
        return x - 5, y + 2, x + 135, y + 81
    if label == "package":
        draw.rectangle((x, y + 30, x + 46, y + 66), fill="#a97b4b", outline="#6f4f2e", width=2)
        draw.line((x + 23, y + 30, x + 23, y + 66), fill="#d9c39b", width=4)
        return x - 5, y + 25, x + 51, y + 71
    if label == "dog":
        for leg in (8, 18, 56, 66):
            draw.rectangle((x + leg, y + 60, x + leg + 7, y + 84), fill=colour)
        draw.line((x + 76, y + 44, x + 92, y + 26), fill=colour, width=6)
        draw.rounded_rectangle((x, y + 36, x + 80, y + 66), 14, fill=colour)
        draw.ellipse((x - 22, y + 18, x + 14, y + 50), fill=colour)
        draw.polygon([(x - 8, y + 24), (x + 2, y + 4), (x + 10, y + 28)], fill="#20242b")
        return x - 27, y, x + 97, y + 89
    draw.rounded_rectangle((x, y + 20, x + 34, y + 66), 10, fill=colour)
    draw.ellipse((x + 6, y, x + 28, y + 22), fill="#d9b38c")
    for leg in (5, 20):
        draw.rectangle((x + leg, y + 64, x + leg + 9, y + 98), fill="#20242b")
    return x - 6, y - 5, x + 40, y + 103


def _draw_annotation(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], camera: str, label: str, taken_at: datetime
) -> None:
    draw.rectangle(box, outline="#ffb000", width=2)
    shown = label if len(label) <= 24 else f"{label[:23]}..."
    tag = draw.textbbox((box[0], box[1] - 20), shown, font=_font(14))
    draw.rectangle((tag[0] - 3, tag[1] - 3, tag[2] + 3, tag[3] + 3), fill="#ffb000")
    draw.text((box[0], box[1] - 20), shown, fill="#101010", font=_font(14))
    draw.text((10, 8), camera, fill="white", font=_font(16), stroke_width=1, stroke_fill="black")
    stamp = f"{taken_at:%Y-%m-%d %H:%M:%S}"
    draw.text((WIDTH - 175, 8), stamp, fill="white", font=_font(16), stroke_width=1, stroke_fill="black")


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _encode(image: Image.Image, ending: str) -> bytes:
    name, options = _ENCODERS[ending]
    stream = BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()

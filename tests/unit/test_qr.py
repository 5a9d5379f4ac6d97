"""QR codes: a reader of phones reads what was drawn, and the picture is fit for every page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import zxingcpp
from PIL import Image, ImageDraw

from handstamp.crypto.totp import write_uri
from handstamp.web.qr import draw_qr

pytestmark = pytest.mark.anyio
SCALE = 4


def rasterise(svg: str) -> Image.Image:
    """Return the picture of an `svg` element as our pages show it: a background, and lines of height 1."""
    element = ET.fromstring(svg)
    size = int(element.attrib["viewBox"].split()[2])
    background, lines = (child for child in element if child.tag == "path")
    assert (background.attrib["fill"], lines.attrib["stroke"]) == ("#fff", "#000")
    picture = Image.new("L", (size * SCALE, size * SCALE), 255)
    draw, x, y = ImageDraw.Draw(picture), 0.0, 0.0
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", lines.attrib["d"]):
        values = [float(number) for number in numbers.split()]
        if command == "h":
            corner = (x * SCALE, (y - 0.5) * SCALE)
            draw.rectangle((corner, ((x + values[0]) * SCALE - 1, (y + 0.5) * SCALE - 1)), fill=0)
            x += values[0]
        else:
            x, y = values if command == "M" else (x + values[0], y + values[1])
    return picture


@pytest.mark.parametrize(
    ("account", "issuer"),
    [("ada@example.com", "Handstamp"), (f"{'a' * 64}@{'b' * 180}.example.com", "A service with a long name, Büro & Söhne")],
)
async def test_a_reader_reads_the_uri(account: str, issuer: str) -> None:
    """Also for the longest address."""
    uri = write_uri(b"12345678901234567890", account=account, issuer=issuer)
    (found,) = zxingcpp.read_barcodes(rasterise(await draw_qr(uri, title="QR code")))
    assert found.text == uri


async def test_the_picture_scales_and_has_a_text_alternative() -> None:
    """It has no size of its own, and the title is escaped."""
    svg = await draw_qr("otpauth://totp/x", title='A <b> & "c"')
    element = ET.fromstring(svg)
    assert element.attrib["role"] == "img"
    assert not {"width", "height", "style", "xmlns"} & set(element.attrib)
    assert element[0].tag == "title"
    assert element[0].text == 'A <b> & "c"'

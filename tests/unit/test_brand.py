"""The brand of a deployment: readable colours, images by their content, and pages that show them."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.config.brand import load_brand
from handstamp.config.loading import without_environment
from handstamp.domain.brand import LOGO_MAX_BYTES, Logo
from handstamp.domain.color import DARK_PAGE, LIGHT_PAGE, READABLE, contrast, readable_neighbour
from handstamp.errors import ConfigurationError
from tests.messages import SOURCE

SVG = b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 4 4'><script>alert(1)</script><rect width='4' height='4'/></svg>"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
WEBP = b"RIFF\x24\0\0\0WEBPVP8 "


def mistake(**settings: str) -> str:
    """Return the message with which a setting is refused."""
    with pytest.raises(ConfigurationError) as refused:
        load_brand(without_environment(**settings))
    return str(refused.value)


def test_contrast_is_that_of_wcag() -> None:
    """Black on white is 21, and published examples are met."""
    assert contrast("#000000", "#ffffff") == contrast("#ffffff", "#000000") == 21
    assert round(contrast("#767676", "#ffffff"), 2) == 4.54
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48


def test_the_pages_that_colours_are_compared_with_are_those_of_the_styles() -> None:
    """Both schemes of `base.css` have these backgrounds, and no other on which an accent has less contrast."""
    styles = (SOURCE / "web/static/base.css").read_text()
    light, dark, *_ = re.findall(r":root \{(.*?)\}", styles, re.DOTALL)
    for scheme, page, accent in ((light, LIGHT_PAGE, "#000000"), (dark, DARK_PAGE, "#ffffff")):
        backgrounds = re.findall(r"--(?:page|card): (#\w{6});", scheme)
        assert page == min(backgrounds, key=lambda background: contrast(accent, background))


@pytest.mark.parametrize("color", ["#ffcc00", "#ff0000", "#00ff00", "#ffffff", "#777777", "#4fd1c0"])
def test_a_color_that_cannot_be_read_is_refused_with_one_that_can(color: str) -> None:
    """The message names the contrast, and a neighbour, which is accepted."""
    message = mistake(brand_color=color)
    assert f"has a contrast of {contrast(color, LIGHT_PAGE):.1f} with light pages, and text needs 4.5" in message
    neighbour = re.findall(r"(#\w{6}) would do", message)[0]
    assert load_brand(without_environment(brand_color=neighbour)).light == neighbour
    assert contrast(neighbour, LIGHT_PAGE) < READABLE + 0.2  # the nearest, not black


@pytest.mark.parametrize("color", ["#000000", "#0f766e", "#5b21b6", "#b42318"])
def test_one_color_is_enough(color: str) -> None:
    """That for dark pages is made of it, and can be read there."""
    brand = load_brand(without_environment(brand_color=color.upper()))
    assert brand.light == color
    assert contrast(brand.dark, DARK_PAGE) >= READABLE
    assert readable_neighbour(brand.dark, DARK_PAGE) == brand.dark


def test_both_colors_can_be_chosen() -> None:
    """The second one is for dark pages, and checked against them."""
    brand = load_brand(without_environment(brand_color="#0f766e #4fd1c0"))
    assert (brand.light, brand.dark) == ("#0f766e", "#4fd1c0")
    assert "with dark pages" in mistake(brand_color="#0f766e #0f766e")


@pytest.mark.parametrize("color", ["teal", "#fff", "rgb(1,2,3)", "#0f766g", "#0f766e;}body{color:red", "#000000 #ffffff #000000"])
def test_other_spellings_are_refused(color: str) -> None:
    """A colour is written into a style sheet, so that it is nothing but a colour."""
    assert "#0f766e" in mistake(brand_color=color)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brand_name", "x" * 65),
        ("brand_name", "Acme\r\nBcc: eve@example.com"),
        ("terms_url", "javascript:alert(1)"),
        ("terms_url", "http://www.example.com/terms"),
        ("privacy_url", 'https://www.example.com/"onclick=x'),
        ("privacy_url", "https://"),
        ("privacy_url", "//www.example.com"),
        ("privacy_url", "https://[www"),
    ],
)
def test_names_and_links_that_do_harm_are_refused(name: str, value: str) -> None:
    """They stand in pages and in mails."""
    assert name.upper() in mistake(**{name: value})


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (WEBP, "image/webp"),
        (SVG, "image/svg+xml"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n<!DOCTYPE svg>\n<svg/>" + b" ", "image/svg+xml"),
    ],
)
def test_a_logo_is_what_its_content_says(content: bytes, media_type: str) -> None:
    """The name of the file decides nothing."""
    content = content.replace(b"<svg/>", b"<svg ></svg>")
    assert Logo.parse(content).media_type == media_type


@pytest.mark.parametrize(
    "content",
    [b"", b"<html><svg></svg></html>", b"<script>alert(1)</script>", b"GIF89a", PNG[:4], SVG + b" " * LOGO_MAX_BYTES, b"<svgx>"],
    ids=["empty", "HTML", "script", "GIF", "half a PNG", "large", "other"],
)
def test_what_is_no_image_is_refused(content: bytes, tmp_path: Path) -> None:
    """The service does not start with it, and says which file it is."""
    file = tmp_path / "logo.svg"
    file.write_bytes(content)
    assert str(file) in mistake(brand_logo=str(file))
    assert str(tmp_path / "missing") in mistake(brand_logo=str(tmp_path / "missing"))


@pytest.mark.anyio
async def test_pages_show_the_brand(tmp_path: Path) -> None:
    """Name, logo, colours and links are on each page, and a script in the logo cannot run."""
    file = tmp_path / "logo.svg"
    file.write_bytes(SVG)
    settings = without_environment(
        database=f"sqlite:///{tmp_path}/handstamp.db",
        issuer="http://localhost:8000/auth",
        brand_name="Acme & <Sons>",
        brand_logo=str(file),
        brand_color="#5b21b6",
        terms_url="https://www.example.com/terms?a=b&c=d",
        privacy_url="https://www.example.com/privacy",
        support_contact="help@example.com",
    )
    transport = httpx.ASGITransport(make_application(Deployment(settings)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        page = await client.get("/sign-in")
        assert "<title>Sign in · Acme &amp; &lt;Sons&gt;</title>" in page.text
        assert '<img src="/auth/brand/logo" alt="Acme &amp; &lt;Sons&gt;">' in page.text
        assert '<a href="https://www.example.com/terms?a=b&amp;c=d">Terms of use</a>' in page.text
        assert '<a href="https://www.example.com/privacy">Privacy</a>' in page.text
        assert '<a href="mailto:help@example.com">Help</a>' in page.text
        assert "fill='%235b21b6'" not in page.text  # the logo is the icon
        assert "Handstamp" not in page.text
        assert "img-src 'self' data:" in page.headers["content-security-policy"]
        logo = await client.get("/brand/logo")
        assert (logo.content, logo.headers["content-type"]) == (SVG, "image/svg+xml")
        assert logo.headers["x-content-type-options"] == "nosniff"
        policy = logo.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy.split("; ")
        assert "script" not in policy
        again = await client.get("/brand/logo", headers={"if-none-match": logo.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        colors = await client.get("/brand/colors.css")
        assert colors.headers["content-type"] == "text/css; charset=utf-8"
        assert "--accent: #5b21b6;" in colors.text


@pytest.mark.anyio
async def test_without_a_brand_there_is_none(tmp_path: Path) -> None:
    """Nothing is served under `/brand`, and pages ask for nothing there."""
    settings = without_environment(database=f"sqlite:///{tmp_path}/handstamp.db", issuer="http://localhost:8000")
    transport = httpx.ASGITransport(make_application(Deployment(settings)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        page = (await client.get("/sign-in")).text
        assert "/brand" not in page
        assert "<title>Sign in</title>" in page
        assert "fill='%230f766e'" in page
        assert (await client.get("/brand/logo")).status_code == 404

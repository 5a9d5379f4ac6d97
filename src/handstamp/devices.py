"""Describes a device in words that its owner recognises: browser and operating system."""

from __future__ import annotations

from .text import mark

# The first match wins. Browsers also name others that they are compatible with, so the most specific come first.
# A library that knows thousands takes 400 ms to load and milliseconds a device; people recognise their devices by these.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def describe_device(user_agent: str) -> str:
    """Return "Firefox on Linux", marked for translation, or as much as a `User-Agent` says (RFC 9110 §10.1.5).

    Only its owner may see it: see `name_device`.
    """
    return name_device(user_agent) or user_agent.partition("/")[0][:40].strip() or mark("A device without a name")


def name_device(user_agent: str) -> str:
    """Return "Firefox on Linux", "Firefox" or "Linux", marked for translation; "" if a `User-Agent` names none that we know.

    A stranger chooses the text of a `User-Agent`. No other text of it may be in mail.
    """
    browser = next((name for sign, name in _BROWSERS if sign in user_agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in user_agent), "")
    if browser and system:
        return mark("%(browser)s on %(system)s", browser=browser, system=system)
    return browser or system

"""Parse the values of settings.

Each function takes text of the environment, a value of `handstamp.toml` or an argument in Python, and returns the value that
`Settings` holds. It raises `ValueError` with what is allowed. The sentence never repeats the value, which may contain a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from ..crypto.seal import MasterSecret
from ..domain.color import DARK_PAGE, LIGHT_PAGE, READABLE, contrast, parse_color, readable_neighbour
from ..domain.duration import parse_duration
from ..domain.factor import FactorPolicy
from ..domain.grant import parse_grant
from ..domain.issuer import is_loopback
from ..domain.mail import MAIL_KINDS, MailKind
from ..domain.smtp import Mailbox, SmtpServer
from ..errors import ConfigurationError, InvalidFields

_T = TypeVar("_T")
_POSTGRESQL_PARAMETERS = (
    *("host", "port", "user", "password", "passfile", "dbname", "database", "options"),
    *("sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib", "target_session_attrs", "pgbouncer"),
)
"""What a PostgreSQL URL may say behind the question mark. The server refuses others only when it is connected to."""
_WHOLE_NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)
_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~-]+)*)",
    re.ASCII,
)
_SMTP = "smtp://user:password@mail.example.com:587, or smtps://… for TLS from the start; write %40 for an @ in the password"
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+", re.ASCII)
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}@[^\s@<>\"(),:;\\\[\]]{1,253}")
_CONTACT = re.compile(r"[^\s<>\"]+")
_LINK = re.compile(r"[A-Za-z0-9!#$%&()*+,./:;=?@\[\]_~-]{1,2048}", re.ASCII)
"""What an address of a page is made of: no spaces, quotes, backslashes and angle brackets."""
_ISSUER = "the public URL, as https://auth.example.com, in lower case, without query or fragment"
_ORIGIN = "scheme, host and a port that is not the scheme's default, in lower case, as https://app.example.com"


def parse_duration_or_off(value: object) -> int | None:
    """Return seconds, or None for "off"."""
    return None if str(value).strip().lower() == "off" else parse_duration(value)


def duration_between(least: str, most: str) -> Callable[[object], int]:
    """Return a parser of durations within these bounds, which are inclusive."""
    least_s, most_s = parse_duration(least), parse_duration(most)

    def parse(value: object) -> int:
        seconds = parse_duration(value)
        if not least_s <= seconds <= most_s:
            raise ValueError(f"must be between {least} and {most}")
        return seconds

    return parse


def number_between(least: int, most: int) -> Callable[[object], int]:
    """Return a parser of whole numbers within these bounds, which are inclusive."""

    def parse(value: object) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or _WHOLE_NUMBER.fullmatch(text) is None or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number between {least} and {most}")
        return int(text)

    return parse


def one_of(*choices: _T) -> Callable[[object], _T]:
    """Return a parser that accepts these texts alone."""

    def parse(value: object) -> _T:
        for choice in choices:
            if value == choice:
                return choice
        quoted = [repr(choice) for choice in choices]
        raise ValueError(f"must be {', '.join(quoted[:-1])} or {quoted[-1]}")

    return parse


def parse_switch(value: object) -> bool:
    """Return a truth value for true, false, yes, no, on, off, 1 or 0."""
    switch = _SWITCH.get(str(value).strip().lower())
    if switch is None:
        raise ValueError("must be true or false")
    return switch


def parse_second_factor(value: object) -> FactorPolicy:
    """Return who must have a second factor."""
    word, colon, names = str(value).strip().partition(":")
    if word == "optional" and not colon:
        return FactorPolicy()
    if word == "required" and not colon:
        return FactorPolicy(is_required=True)
    roles = tuple(filter(None, re.split(r"[\s,]+", names)))
    if word != "required_for" or not roles:
        raise ValueError("must be optional, required, or required_for:ROLE, with several roles separated by commas")
    try:
        return FactorPolicy(roles=parse_grant(roles=roles).roles)
    except InvalidFields:
        raise ValueError("names something that is no role: 1 to 64 letters, digits and . _ : - each") from None


def parse_role(value: object) -> str:
    """Return a role, or "" for off."""
    text = str(value).strip()
    try:
        return "" if text == "off" else parse_grant(roles=[text]).roles[0]
    except InvalidFields:
        raise ValueError("must be a role, or off") from None


def parse_metrics_address(value: object) -> tuple[str, int] | Literal["credential"] | None:
    """Return host and port, "credential", or None for an empty text."""
    text = str(value).strip()
    if text == "credential":
        return "credential"
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError("must be HOST:PORT, as 127.0.0.1:9464, or credential")
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_text(value: object) -> str:
    """Return text unchanged."""
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 - one error for everything that a setting cannot be
    return value


def parse_texts(value: object) -> tuple[str, ...]:
    """Return the items of a list, or of a text that separates them by commas or spaces."""
    if isinstance(value, str):
        return tuple(re.findall(r"[^,\s]+", value))
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of texts")
    return tuple(value)


def parse_webhook_urls(value: object) -> tuple[str, ...]:
    """Return the URLs of webhooks, each once. Whether they may be requested is decided by `handstamp.outbound`."""
    urls = parse_texts(value)
    for number, url in enumerate(urls, start=1):
        if _LINK.fullmatch(url) is None or not url.startswith(("https://", "http://")):
            raise ValueError(f"entry {number}: write it as https://siem.example.com/handstamp")
    return tuple(dict.fromkeys(urls))


def parse_file(value: object) -> Path:
    """Return the path of a file."""
    if isinstance(value, Path):
        return value
    text = parse_text(value)
    if not text or "\0" in text:
        raise ValueError("must be the path of a file")
    return Path(text)


def parse_secret(value: object) -> MasterSecret:
    """Return the master secret without white space around it. What was sealed with the white space still opens."""
    text = parse_text(value)
    try:
        secret = MasterSecret(text.strip().encode())
        return secret if text == text.strip() else secret.beside([MasterSecret(text.encode())])
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8 text") from None
    except ConfigurationError as weak:
        raise ValueError(str(weak)) from None


def parse_secrets(value: object) -> tuple[MasterSecret, ...]:
    """Return master secrets."""
    return tuple(parse_secret(text) for text in parse_texts(value))


def parse_files(value: object) -> tuple[Path, ...]:
    """Return the paths of files."""
    return tuple(parse_file(text) for text in parse_texts(value))


def parse_database(value: object) -> str:
    """Return the URL of a SQLite file or of a PostgreSQL database that is protected on its way there."""
    url = parse_text(value)
    if url.startswith(("postgresql://", "postgres://")):
        _require_protected_postgresql(url)
        return url
    file = Path(url.removeprefix("sqlite:///"))
    try:
        is_possible = url.startswith("sqlite:///") and bool(file.name) and not file.is_dir()
        if is_possible and {"?", "#"} & set(url):
            raise ValueError("a SQLite URL has no parameters: write sqlite:///FILE, without ? and #")
    except OSError:  # a name that no file can have
        is_possible = False
    if not is_possible:
        raise ValueError(
            "write it as sqlite:///handstamp.db, or sqlite:////var/lib/handstamp/handstamp.db from the root, "
            "or postgresql://user:password@host/name"
        )
    return url


def parse_issuer(value: object) -> str:
    """Return the public URL of the service, byte for byte; empty if it is not set."""
    url = parse_text(value)
    if url.endswith("/") and _URL.fullmatch(url.rstrip("/")):
        raise ValueError("leave out the slash at the end: tokens carry the URL byte for byte")
    if url:
        _split_url(url, wanted=_ISSUER)
    return url


_APP_ORIGINS = frozenset({"capacitor://localhost", "ionic://localhost", "tauri://localhost"})
"""What web views of native applications send as their origin."""


def parse_origins(value: object) -> tuple[str, ...]:
    """Return origins as browsers send them."""
    origins = parse_texts(value)
    for number, origin in enumerate(origins, start=1):
        try:
            _require_origin(origin)
        except ValueError as problem:
            raise ValueError(f"entry {number}: {problem}") from None
    return origins


def parse_proxies(value: object) -> tuple[str, ...]:
    """Return addresses and networks of proxies, and "unix"; never a network that contains every address."""
    entries = parse_texts(value)
    for number, entry in enumerate(entries, start=1):
        if entry == "unix":
            continue
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise ValueError(f"entry {number}: write an address or a network, as 10.0.0.1 or 10.0.0.0/8, or unix") from None
        if network.prefixlen == 0:
            raise ValueError(f"entry {number} would trust every client; list your proxy's addresses")
        if network.network_address != ipaddress.ip_interface(entry).ip:
            raise ValueError(
                f"entry {number}: its length says a network, and its address is one inside. Write the network, as 10.0.0.0/8, "
                "or the address without a length, as 10.0.0.5"
            )
    return entries


def parse_hosts(value: object) -> tuple[str, ...]:
    """Return names or addresses of hosts, as URLs contain them, without brackets."""
    hosts = tuple(host.removeprefix("[").removesuffix("]") for host in parse_texts(value))
    for number, host in enumerate(hosts, start=1):
        if _HOST.fullmatch(host) is None:
            raise ValueError(f"entry {number}: write the name or the address of a host in lower case, as keycloak.internal")
    return hosts


def parse_smtp_url(value: object) -> SmtpServer | Literal["inbox"] | None:
    """Return the mail server of a URL, "inbox" for the development inbox, None for an empty text."""
    url = parse_text(value)
    if url in ("", "inbox"):
        return "inbox" if url else None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        user, password = unquote(parts.username or "", errors="strict"), unquote(parts.password or "", errors="strict")
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"write {_SMTP}") from None
    is_sound = url.isascii() and url.isprintable() and (user + password).isprintable() and " " not in url and port != 0
    has_both = bool(user) == bool(password) and (bool(user) or "@" not in parts.netloc)
    if not (parts.scheme in ("smtp", "smtps") and _HOST.fullmatch(host) and is_sound and has_both) or "#" in url:
        raise ValueError(f"write {_SMTP}")
    if parts.path or options not in ({}, {"tls": ["required"]}, {"tls": ["off"]}) or (options and parts.scheme == "smtps"):
        raise ValueError("behind the port, only ?tls=required or ?tls=off may follow, and nothing with smtps://")
    if parts.scheme == "smtps":
        return SmtpServer(host=host, port=port or 465, protection="tls", user=user, password=password)
    needs_tls = options.get("tls", ["off" if is_loopback(host) else "required"]) == ["required"]
    protection: Literal["starttls", "none"] = "starttls" if needs_tls else "none"
    return SmtpServer(host=host, port=port or 587, protection=protection, user=user, password=password)


def parse_mailbox(value: object) -> Mailbox | None:
    """Return the address of `no-reply@example.com` or of `Example <no-reply@example.com>`, None for an empty text."""
    text = parse_text(value).strip()
    if not text:
        return None
    name, bracket, rest = text.rpartition("<")
    address = rest.removesuffix(">") if bracket else text
    name = name.strip().strip('"')
    if (
        bool(bracket) != text.endswith(">")
        or _ADDRESS.fullmatch(address) is None
        or not text.isprintable()
        or set(name) & set('<>"')
    ):
        raise ValueError("write an address, as no-reply@example.com or Example <no-reply@example.com>")
    return Mailbox(name, address)


def parse_notices(value: object) -> frozenset[MailKind]:
    """Return kinds of notices for "all", "none", or a list of them."""
    notices = {kind for kind, rule in MAIL_KINDS.items() if rule.is_notice}
    wanted = set(parse_texts(sorted(value) if isinstance(value, frozenset | set) else value))
    if wanted == {"all"}:
        return frozenset(notices)
    if wanted == {"none"}:
        return frozenset()
    if not wanted or wanted - notices:
        raise ValueError(f"must be all, none, or a list of these: {', '.join(sorted(notices))}")
    return frozenset(kind for kind in notices if kind in wanted)


def parse_contact(value: object) -> str:
    """Return an e-mail address or an https URL, for people; empty if there is none."""
    text = parse_text(value).strip()
    is_url = text.startswith("https://") and _CONTACT.fullmatch(text) is not None
    if text and (len(text) > 254 or not text.isprintable() or not (is_url or _ADDRESS.fullmatch(text))):
        raise ValueError("write an e-mail address, or the https URL of a page")
    return text


def parse_name(value: object) -> str:
    """Return a name of at most 64 characters that people read."""
    name = parse_text(value).strip()
    if len(name) > 64 or not name.isprintable():
        raise ValueError("must have at most 64 characters and no control characters")
    return name


def parse_link(value: object) -> str:
    """Return the address of a page, https off loopback; empty if it is not set."""
    url = parse_text(value).strip()
    try:
        parts = urlsplit(url)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        is_link = is_safe and bool(parts.hostname) and _LINK.fullmatch(url) is not None
    except ValueError:
        is_link = False
    if url and not is_link:
        raise ValueError("write the address of a page, as https://www.example.com/terms")
    return url


def parse_colors(value: object) -> tuple[str, str] | None:
    """Return the accent on light pages and on dark pages, in which text can be read; None if it is not set.

    With one colour, the one for dark pages is made of it.
    """
    colors = [parse_color(text) for text in parse_texts(value)]
    if not colors:
        return None
    if len(colors) > 2:
        raise ValueError("write one colour, or one for light pages and one for dark pages, as #0f766e #4fd1c0")
    _require_readable(colors[0], LIGHT_PAGE, "light")
    if len(colors) == 1:
        return colors[0], readable_neighbour(colors[0], DARK_PAGE)
    _require_readable(colors[1], DARK_PAGE, "dark")
    return colors[0], colors[1]


def _require_readable(color: str, page: str, scheme: str) -> None:
    if (found := contrast(color, page)) < READABLE:
        raise ValueError(
            f"{color} has a contrast of {found:.1f} with {scheme} pages, and text needs {READABLE}. "
            f"{readable_neighbour(color, page)} would do"
        )


def _require_protected_postgresql(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("write it as postgresql://user:password@host:5432/name, with %40 for an @ in the password") from None
    unknown = sorted(options.keys() - set(_POSTGRESQL_PARAMETERS))
    if unknown:  # not repeated: an unencoded password with a question mark would be among them
        raise ValueError(f"has unknown parameters behind the question mark; allowed are {', '.join(_POSTGRESQL_PARAMETERS)}")
    if any(len(values) > 1 for values in options.values()):
        raise ValueError("has a parameter twice behind the question mark")
    host = host or options.get("host", [""])[0]
    is_local = not host or host.startswith("/") or is_loopback(host)
    if not is_local and "sslmode" not in options:
        raise ValueError(
            "say how the connection is protected: ?sslmode=verify-full if this machine trusts the server's certificate, "
            "or with &sslrootcert=FILE; ?sslmode=disable only on a network to which no other party has access"
        )


def _split_url(url: str, *, wanted: str) -> dict[str, Any]:
    match = _URL.fullmatch(url)
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        raise ValueError(f"write {wanted}")
    if match["scheme"] == "http" and not is_loopback(match["host"].strip("[]")):
        raise ValueError("must be https off loopback, because cookies and tokens would be sent unencrypted")
    return match.groupdict(default="")


def _require_origin(origin: str) -> None:
    if origin in _APP_ORIGINS:
        return
    parts = _split_url(origin, wanted=_ORIGIN)
    if parts["path"] or (parts["scheme"], parts["port"]) in (("https", "443"), ("http", "80")):
        raise ValueError(f"write {_ORIGIN}")

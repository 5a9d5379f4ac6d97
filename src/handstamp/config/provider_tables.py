"""Parse the tables of providers with which people sign in. As in `values`, sentences never repeat a value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..domain.issuer import is_private
from ..domain.presets import PERSONAL_TENANT, PRESETS, SHARED_TENANTS, ProviderPreset
from ..domain.provider import Preset, ProviderSettings
from .values import one_of, parse_name, parse_switch, parse_text, parse_texts

MAX_PROVIDERS = 32
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_ID = re.compile(r"[!-~]{1,512}", re.ASCII)
_ISSUER = re.compile(r"https?://[!-~]{1,500}", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}", re.ASCII)
_SECRET = re.compile(r"[ -~]{1,4096}", re.ASCII)
_TABLES = (
    'tables as [providers.google] in the file, JSON as {"google": {"client_id": "…", "client_secret": "…"}} in the environment'
)
_TENANT = "the id of your tenant (a GUID in lower case), or common, organizations or consumers"


def parse_providers(value: object) -> tuple[ProviderSettings, ...]:
    """Return the providers of a mapping, or of JSON text. Their order is that of the buttons."""
    tables = _read_json(value) if isinstance(value, str) else value
    if isinstance(tables, tuple) and all(isinstance(item, ProviderSettings) for item in tables):
        return tables
    if not isinstance(tables, Mapping) or len(tables) > MAX_PROVIDERS:
        raise ValueError(f"write {_TABLES}; at most {MAX_PROVIDERS} of them")
    problems: list[str] = []
    found: list[ProviderSettings] = []
    for name, table in tables.items():
        try:
            found.append(_parse_table(name, table))
        except ValueError as problem:
            shown = name if isinstance(name, str) and _NAME.fullmatch(name) else f"number {len(found) + len(problems) + 1}"
            problems.append(f"provider {shown}: {problem}")
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(found)


def _read_json(text: str) -> object:
    def refuse_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(members)) != len(members):
            raise ValueError("a name appears twice in the JSON")
        return dict(members)

    if not text.strip():
        return {}
    try:
        return json.loads(text, object_pairs_hook=refuse_duplicates)
    except json.JSONDecodeError as problem:
        raise ValueError(f"is no JSON (line {problem.lineno}, column {problem.colno}): write {_TABLES}") from None
    except RecursionError:
        raise ValueError(f"is nested too deeply: write {_TABLES}") from None


def _parse_table(name: object, table: object) -> ProviderSettings:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError("its name must have 1 to 32 of a-z, 0-9 and -: it is part of URLs, and of every linked account")
    if not isinstance(table, Mapping):
        raise ValueError(f"write {_TABLES}")  # noqa: TRY004 - one error for everything that a setting cannot be
    if unknown := sorted(str(key) for key in table if key not in KEYS):
        raise ValueError(f"{', '.join(unknown)[:80]} is not a key here. The keys are: {', '.join(KEYS)}")
    values = {}
    for key, given in table.items():
        try:
            values[key] = KEYS[key](given)
        except ValueError as problem:
            raise ValueError(f"{key}: {problem}") from None
    return _complete(name, values)


def _complete(name: str, values: dict[str, Any]) -> ProviderSettings:
    """Return the settings with what the preset brings. Raises `ValueError` if something is missing or does not fit."""
    preset: Preset = values.pop("preset", name if name in PRESETS else "")
    known = PRESETS[preset]
    issuer = _choose_issuer(preset, known, values)
    if not values.get("client_id"):
        raise ValueError("client_id is missing: it is what the provider calls this service")
    _require_one_secret(preset, values)
    scopes = values.pop("scopes", known.scopes)
    if preset != "github" and "openid" not in scopes:
        raise ValueError("scopes must contain openid: without it there is no ID token")
    trusts_email = values.pop("trust_email", False)
    if trusts_email and (preset == "google" or any(f"/{shared}/" in issuer for shared in (*SHARED_TENANTS, PERSONAL_TENANT))):
        raise ValueError("trust_email is for a directory of your own: here strangers could choose any address")
    return ProviderSettings(
        name=name,
        preset=preset,
        label=values.pop("label", "") or known.label or name,
        issuer=issuer,
        scopes=scopes,
        trusts_email=trusts_email,
        keeps_tokens=values.pop("keep_tokens", False),
        **values,
    )


def _choose_issuer(preset: Preset, known: ProviderPreset, values: dict[str, Any]) -> str:
    given, tenant = values.pop("issuer", ""), values.pop("tenant", "")
    if preset == "microsoft":
        if given:
            raise ValueError(f"leave out issuer, and set tenant: {_TENANT}")
        return known.issuer.replace("{tenant}", PERSONAL_TENANT if tenant == "consumers" else tenant or "common")
    if tenant:
        raise ValueError("tenant is for Microsoft alone")
    if preset == "github" and given.endswith("/"):
        raise ValueError("issuer: leave out the slash at the end")
    if not (given or known.issuer):
        raise ValueError(
            "issuer is missing: write the URL at which the provider describes itself, as https://login.example.com/realms/main, "
            f"or set preset to one of {', '.join(filter(None, PRESETS))}"
        )
    return given or known.issuer


def _require_one_secret(preset: Preset, values: dict[str, Any]) -> None:
    given = [key for key in ("client_secret", "client_secret_file", "private_key_file") if values.get(key)]
    if preset == "apple":
        missing = [key for key in ("private_key_file", "key_id", "team_id") if not values.get(key)]
        if missing or given != ["private_key_file"]:
            raise ValueError("Apple needs private_key_file (AuthKey_….p8), key_id and team_id, and no client_secret")
    elif values.get("team_id"):
        raise ValueError("team_id is for Apple alone")
    elif preset == "github" and "private_key_file" in given:
        raise ValueError("GitHub knows no private_key_file: set client_secret_file")
    elif len(given) != 1:
        raise ValueError("set one of client_secret_file, client_secret and private_key_file")


def _parse_issuer(value: object) -> str:
    """Return an issuer byte for byte."""
    url = parse_text(value)
    try:
        parts = urlsplit(url)
        is_sound = parts.username is None and parts.port != 0 and not (parts.query or parts.fragment or "?" in url or "#" in url)
    except ValueError:
        is_sound = False
    if _ISSUER.fullmatch(url) is None or not is_sound or not is_private(url):
        raise ValueError("write an https URL without query and fragment, exactly as the provider writes it")
    return url


def _parse_id(value: object) -> str:
    text = parse_text(value).strip()
    if _ID.fullmatch(text) is None:
        raise ValueError("must be text without spaces, as the provider shows it")
    return text


def _parse_secret(value: object) -> str:
    text = parse_text(value).strip()
    if _SECRET.fullmatch(text) is None:
        raise ValueError("must be text, as the provider shows it")
    return text


def _parse_path(value: object) -> str:
    text = str(value) if isinstance(value, Path) else parse_text(value)
    if not text or "\0" in text:
        raise ValueError("must be the path of a file")
    return text


def _parse_tenant(value: object) -> str:
    text = parse_text(value).strip()
    if text not in (*SHARED_TENANTS, "consumers") and _GUID.fullmatch(text) is None:
        raise ValueError(f"write {_TENANT}")
    return text


def _parse_scopes(value: object) -> tuple[str, ...]:
    scopes = parse_texts(value)
    if not scopes or not all(map(_SCOPE.fullmatch, scopes)):
        raise ValueError("must be a list of scopes, as the provider names them")
    return tuple(dict.fromkeys(scopes))


def _parse_preset(value: object) -> Preset:
    for preset in PRESETS:
        if value == preset:
            return preset
    raise ValueError(f"must be one of {', '.join(filter(None, PRESETS))}")


KEYS: dict[str, Callable[[object], Any]] = {
    "preset": _parse_preset,
    "label": parse_name,
    "issuer": _parse_issuer,
    "tenant": _parse_tenant,
    "client_id": _parse_id,
    "client_secret": _parse_secret,
    "client_secret_file": _parse_path,
    "client_secret_in": one_of("header", "form"),
    "private_key_file": _parse_path,
    "key_id": _parse_id,
    "team_id": _parse_id,
    "scopes": _parse_scopes,
    "trust_email": parse_switch,
    "keep_tokens": parse_switch,
}
"""By the name of each key of a table, what parses its value."""

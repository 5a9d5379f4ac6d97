"""Settings, from `HANDSTAMP_*` in the environment, then from `handstamp.toml`; every mistake is reported at once."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from ..crypto.algorithms import Algorithm
from ..crypto.passwords import Cost
from ..crypto.seal import MasterSecret
from ..domain.issuer import is_loopback
from ..domain.policy import Policy
from ..errors import ConfigurationError

PREFIX = "HANDSTAMP_"
FILE = "handstamp.toml"
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~-]+)*)",
    re.ASCII,
)
_NOT_SETTINGS = (f"{PREFIX}TEST_",)
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})\s*([smhd]?)")


def duration_s(value: object) -> int:
    """Return seconds for `900`, `"900"`, `"15m"`, `"12h"` or `"30d"`. Raises `ValueError` saying so for anything else."""
    match = _DURATION.fullmatch(str(value).strip().lower()) if not isinstance(value, bool) else None
    if match is None:
        raise ValueError("write a duration as seconds or as 15m, 12h, 30d")
    return int(match[1]) * _UNITS_S[match[2]]


def _duration_or_off(value: object) -> int | None:
    return None if str(value).strip().lower() in ("off", "none") else duration_s(value)


def _separated(value: object) -> object:
    return tuple(re.findall(r"[^,\s]+", value)) if isinstance(value, str) else value


def _between(least: str, most: str) -> AfterValidator:
    def check(value: int) -> int:
        if not duration_s(least) <= value <= duration_s(most):
            raise ValueError(f"must be between {least} and {most}")
        return value

    return AfterValidator(check)


DurationS = Annotated[int, BeforeValidator(duration_s)]
Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_separated)]


class Settings(BaseSettings):
    """Everything that can be set. Names in the environment have the prefix `HANDSTAMP_`; durations are seconds or `15m`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True, validate_default=False)

    database: str = Field(  # it may hold a password
        "sqlite:///handstamp.db", repr=False, description="sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME?sslmode=…"
    )
    database_connections: Annotated[int, Field(ge=1, le=200)] = Field(
        10, description="To PostgreSQL, of each process; one more listens"
    )
    issuer: str = Field("", description="The public URL; https off loopback. Default: http://localhost:PORT while on loopback")
    audience: Texts = Field((), description="Whom the access tokens are for, one or several. Default: the issuer")
    secret: SecretStr | None = Field(None, description="The master secret, at least 32 bytes")
    secret_file: Path | None = Field(
        None, description="Its file; default: handstamp.secret beside the database, made at first start"
    )
    algorithm: Algorithm = Field("ES256", description="What access tokens are signed with")
    access_lifetime: Annotated[DurationS, _between("30s", "1h")] = Field(900, description="Of an access token; 30s to 1h")
    refresh_idle_lifetime: Annotated[DurationS, _between("31s", "400d")] = Field(
        14 * 86400, description="A session that is not renewed for so long is over"
    )
    session_lifetime: Annotated[DurationS, _between("1m", "400d")] = Field(
        30 * 86400, description="A session is over after this, whatever happens"
    )
    grace: Annotated[DurationS, _between("0", "60s")] = Field(
        10, description="How long a replaced refresh token is answered again; 0 to 60s, 0 is strict"
    )
    recovery_interval: Annotated[int | None, BeforeValidator(_duration_or_off)] = Field(
        86400, description="One late repeat is allowed per interval; 'off' is strict"
    )
    catch_up: bool = Field(default=True, description="Accept tokens newer than a restored database; false treats them as reuse")
    request_timeout: Annotated[DurationS, _between("1s", "5m")] = Field(
        30, description="How long a client may take to send a request, and to begin one on a new connection"
    )
    keep_alive: Annotated[DurationS, _between("1s", "1h")] = Field(
        75, description="How long an idle connection stays open; longer than the proxy in front keeps its own"
    )
    registration: Literal["open", "closed"] = Field("open", description="Whether strangers can make accounts")
    password_min_length: Annotated[int, Field(ge=8, le=64)] = Field(15, description="In characters; 15 is NIST's minimum")
    password_cost: Cost = Field("owasp", description="Of the password hash")
    trusted_origins: Texts = Field((), description="Other origins whose pages may use this service, as https://app.example.com")
    trusted_proxies: Texts = Field((), description="Addresses or networks whose X-Forwarded-For is believed")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator("database")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value.startswith(("postgresql://", "postgres://")):
            _check_postgresql(value)
            return value
        file = Path(value.removeprefix("sqlite:///"))
        try:
            can_be = value.startswith("sqlite:///") and bool(file.name) and not file.is_dir()
        except (ValueError, OSError):  # a name that no file can have
            can_be = False
        if not can_be:
            raise ValueError(
                "write it as sqlite:///handstamp.db, or sqlite:////var/lib/handstamp/handstamp.db from the root, "
                "or postgresql://user:password@host/name"
            )
        return value

    @field_validator("secret")
    @classmethod
    def _strong_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                MasterSecret(value.get_secret_value().encode())
            except ConfigurationError as weak:
                raise ValueError(str(weak)) from None
        return value

    @field_validator("issuer")
    @classmethod
    def _sound_issuer(cls, value: str) -> str:
        if value.endswith("/") and _URL.fullmatch(value.rstrip("/")):
            raise ValueError("leave the slash at its end away: tokens carry it byte for byte")
        if value:
            _check_url(value, "the public URL, as https://auth.example.com, in small letters, without query or fragment")
        return value

    @field_validator("trusted_origins")
    @classmethod
    def _sound_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, origin in enumerate(value, start=1):
            try:
                _check_origin(origin)
            except ValueError as problem:
                raise ValueError(f"entry {number}: {problem}") from None
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _sound_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            if ipaddress.ip_network(network, strict=False).prefixlen == 0:
                raise ValueError("everybody is no proxy: name its address or network")
        return value

    @property
    def policy(self) -> Policy:
        """The numbers that the rules of sessions depend on. Raises `ValueError` where they contradict each other."""
        return Policy(
            access_lifetime_ms=self.access_lifetime * 1000,
            idle_lifetime_ms=self.refresh_idle_lifetime * 1000,
            session_lifetime_ms=self.session_lifetime * 1000,
            grace_ms=self.grace * 1000,
            recovery_interval_ms=None if self.recovery_interval is None else self.recovery_interval * 1000,
            catch_up=self.catch_up,
        )

    @property
    def database_path(self) -> Path | None:
        """The SQLite file; None with PostgreSQL."""
        return Path(self.database.removeprefix("sqlite:///")) if self.database.startswith("sqlite:///") else None

    @property
    def database_shown(self) -> str:
        """Where the rows are, as people may see it: without user and password."""
        if self.database_path is not None:
            return str(self.database_path.absolute())
        parts = urlsplit(self.database)
        return f"postgresql://{parts.hostname or ''}{parts.path}"


def _check_postgresql(url: str) -> None:
    """Raise `ValueError`, without repeating the URL, for one that is none, or would let others read what is sent."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("write it as postgresql://user:password@host:5432/name, with %40 for an @ in the password") from None
    host = host or options.get("host", [""])[0]
    is_here = not host or host.startswith("/") or is_loopback(host)
    if not is_here and "sslmode" not in options:
        raise ValueError(
            "say how the connection is protected: ?sslmode=verify-full with a certificate that is known here, or with "
            "&sslrootcert=FILE; ?sslmode=disable is for a network that nobody else can listen to"
        )


def _check_url(url: str, wanted: str) -> dict[str, str]:
    """Return the parts of a sound URL. Raises `ValueError`, which does not repeat it: it may hold a password."""
    match = _URL.fullmatch(url)
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        raise ValueError(f"write {wanted}")
    if match["scheme"] == "http" and not is_loopback(match["host"].strip("[]")):
        raise ValueError("must be https off loopback: cookies and tokens would travel in the clear")
    return match.groupdict(default="")


def _check_origin(origin: str) -> None:
    wanted = "scheme, host and a port that is not the scheme's own, in small letters, as https://app.example.com"
    parts = _check_url(origin, wanted)
    if parts["path"] or (parts["scheme"], parts["port"]) in (("https", "443"), ("http", "80")):
        raise ValueError(f"write {wanted}")


def load(environment: Mapping[str, str] = os.environ, **arguments: object) -> Settings:
    """Return the settings; `arguments`, where not None, come before the environment.

    Raises `ConfigurationError` with a sentence for every mistake, so that one start shows them all.
    """
    problems = _unknown_names(environment)
    settings = None
    try:
        settings = Settings(**{name: value for name, value in arguments.items() if value is not None})  # type: ignore[arg-type]
        settings.policy  # noqa: B018 - it checks the numbers against each other
    except ValidationError as wrong:
        problems += [_in_words(dict(error)) for error in wrong.errors(include_url=False, include_input=False)]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as wrong:
        problems.append(f"{FILE} cannot be read: {wrong}")
    except ValueError as wrong:  # the policy's own
        problems.append(str(wrong))
    if problems or settings is None:
        raise ConfigurationError(*problems)
    return settings


class _Given(Settings):
    """Settings of which neither environment nor file says anything."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments alone."""
        return (init_settings,)


def without_environment(**arguments: Any) -> Settings:
    """Return these settings, checked as all are, and defaults for the others, whatever environment and file say."""
    return _Given(**arguments)


def _unknown_names(environment: Mapping[str, str]) -> list[str]:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    return [
        f"{name} is not a setting.{_suggestion(name, known)}"
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known and not name.startswith(_NOT_SETTINGS)
    ]


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]}?" if near else f" There are: {', '.join(known)}."


def _in_words(error: dict[str, Any]) -> str:
    name = PREFIX + ".".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "extra_forbidden":
        known = [PREFIX + field.upper() for field in Settings.model_fields]
        return f"{FILE}: {name.removeprefix(PREFIX).lower()} is not a setting.{_suggestion(name, known).lower()}"
    return f"{name}: {str(error['msg']).removeprefix('Value error, ')}"

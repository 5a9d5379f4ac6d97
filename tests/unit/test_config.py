"""Settings: their sources, their allowed values, and that one start reports every mistake."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from handstamp.config.loading import load, without_environment
from handstamp.config.settings import PARSERS, Settings
from handstamp.crypto.seal import MasterSecret
from handstamp.domain.duration import parse_duration
from handstamp.domain.issuer import is_loopback
from handstamp.errors import ConfigurationError

Configure = Callable[..., Settings]
SECRET = "kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Return a function that loads settings from a given environment and `handstamp.toml`."""
    for name in list(os.environ):
        if name.upper().startswith("HANDSTAMP_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def load_settings(toml: str | bytes = "", **environment: str) -> Settings:
        if toml:
            Path("handstamp.toml").write_bytes(toml.encode() if isinstance(toml, str) else toml)
        for name, value in environment.items():
            monkeypatch.setenv(f"HANDSTAMP_{name}", value)
        return load()

    return load_settings


def mistakes(configure: Configure, toml: str | bytes = "", **environment: str) -> tuple[str, ...]:
    """Return the messages with which these settings are refused."""
    with pytest.raises(ConfigurationError) as refused:
        configure(toml, **environment)
    return refused.value.problems


def test_every_setting_has_a_default(configure: Configure) -> None:
    """Without any setting the defaults are those of the documentation."""
    settings = configure()
    assert settings.database_path == Path("handstamp.db")
    assert (settings.algorithm, settings.registration, settings.password_min_length) == ("ES256", "open", 15)
    policy = settings.policy
    assert (policy.access_lifetime_ms, policy.grace_ms) == (15 * 60_000, 10_000)
    assert (policy.idle_lifetime_ms, policy.session_lifetime_ms) == (14 * 86_400_000, 30 * 86_400_000)
    assert policy.recovery_interval_ms == 86_400_000


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://handstamp@localhost/handstamp",
        "postgres://handstamp:p%40ss@127.0.0.1:5433/handstamp",
        "postgresql:///handstamp?host=/run/postgresql",
        "postgresql://handstamp:s3cret@db.example.com/handstamp?sslmode=verify-full",
        "postgresql://handstamp:s3cret@postgres/handstamp?sslmode=disable",
    ],
)
def test_a_postgresql_url_selects_postgresql(url: str, configure: Configure) -> None:
    """PostgreSQL is configured by a URL: local, or with an explicit `sslmode`.

    No output contains the password.
    """
    settings = configure(DATABASE=url)
    assert settings.database == url
    assert settings.database_path is None
    for shown in (repr(settings), str(settings), settings.describe_database()):
        assert "s3cret" not in shown
        assert "p%40ss" not in shown


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://handstamp:s3cret@db.example.com/handstamp", "sslmode=verify-full"),
        ("postgresql:///handstamp?host=db.example.com", "sslmode=verify-full"),
        ("postgresql://handstamp:s3cret@[::1/x", "%40"),
        ("postgresql://handstamp:s3cret@localhost:port/x", "%40"),
        ("mysql://handstamp:s3cret@localhost/x", "postgresql://"),
        ("postgresql://localhost/x?sslmod=verify-full&s3cret=1", "sslrootcert"),
        ("postgresql://localhost/x?s3cret=", "target_session_attrs"),
        ("postgresql://localhost/x?sslmode=require&sslmode=disable", "twice"),
        ("sqlite:///s3cret.db?mode=ro", "no parameters"),
        ("sqlite:///s3cret.db#x", "no parameters"),
    ],
)
def test_an_invalid_database_url_is_refused_without_its_password(url: str, word: str, configure: Configure) -> None:
    """A database URL that is invalid or would send data unencrypted is refused, without showing its password."""
    (sentence,) = mistakes(configure, DATABASE=url)
    assert sentence.startswith("HANDSTAMP_DATABASE: ")
    assert word in sentence
    assert "s3cret" not in sentence


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("900", 900),
        (900, 900),
        ("15m", 900),
        ("12h", 43_200),
        ("30d", 2_592_000),
        ("45s", 45),
        (" 15M ", 900),
        ("0", 0),
        ("1 h", 3600),
    ],
)
def test_durations_are_seconds_or_have_a_unit(written: object, seconds: int) -> None:
    """A duration is a number of seconds, or has a unit."""
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "m", "15 minutes", "-5", "+5", "1.5h", "1e3", "15m30s", "15w", "P1D", "12345678901", True, False, None, 1.5]
)
def test_invalid_durations_are_explained(written: object) -> None:
    """An ambiguous duration is refused, and the message shows the format."""
    with pytest.raises(ValueError, match="15m, 12h, 30d"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["off", "OFF", " off "])
def test_the_recovery_interval_can_be_switched_off(configure: Configure, written: str) -> None:
    """`off` disables the recovery of late repeats, as a strict reading of RFC 9700 requires (R37)."""
    assert configure(RECOVERY_INTERVAL=written).policy.recovery_interval_ms is None


@pytest.mark.parametrize(
    "name", ["ACCESS_LIFETIME", "REFRESH_IDLE_LIFETIME", "SESSION_LIFETIME", "GRACE"], ids=lambda name: name.lower()
)
def test_only_the_recovery_interval_can_be_off(configure: Configure, name: str) -> None:
    """No lifetime can be `off`, because such a token would never expire."""
    assert mistakes(configure, **{name: "off"}) == (f"HANDSTAMP_{name}: write a duration as seconds or as 15m, 12h, 30d",)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("ALGORITHM", "none", "'ES256', 'Ed25519', 'RS256' or 'HS256'"),
        ("ALGORITHM", "es256", "'ES256', 'Ed25519', 'RS256' or 'HS256'"),
        ("ALGORITHM", "EdDSA", "'ES256', 'Ed25519', 'RS256' or 'HS256'"),
        ("REGISTRATION", "sometimes", "'open' or 'closed'"),
        ("PASSWORD_COST", "cheap", "'owasp' or 'rfc9106'"),
        ("PASSWORD_MIN_LENGTH", "7", "8"),
        ("PASSWORD_MIN_LENGTH", "65", "64"),
        ("PASSWORD_MIN_LENGTH", "long", "whole number"),
        ("CATCH_UP", "maybe", "true or false"),
        ("DATABASE", "mysql://db/handstamp", "sqlite:///"),
        ("DATABASE", "sqlite:///", "sqlite:///"),
        ("DATABASE", "handstamp.db", "sqlite:///"),
        ("ACCESS_LIFETIME", "29", "between 30s and 1h"),
        ("ACCESS_LIFETIME", "61m", "between 30s and 1h"),
        ("REFRESH_IDLE_LIFETIME", "31d", "at most SESSION_LIFETIME"),
        ("REFRESH_IDLE_LIFETIME", "15m", "longer than ACCESS_LIFETIME"),
        ("SESSION_LIFETIME", "401d", "between 1m and 400d"),
        ("GRACE", "61", "between 0 and 60s"),
        ("RECOVERY_INTERVAL", "59", "at least 1m, or 'off'"),
    ],
)
def test_an_invalid_value_is_named_with_its_bounds(configure: Configure, name: str, value: str, allowed: str) -> None:
    """The message names the setting and its allowed values."""
    (sentence,) = mistakes(configure, **{name: value})
    assert name in sentence
    assert allowed in sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCESS_LIFETIME", "30"),
        ("ACCESS_LIFETIME", "1h"),
        ("REFRESH_IDLE_LIFETIME", "30d"),
        ("SESSION_LIFETIME", "400d"),
        ("GRACE", "0"),
        ("GRACE", "60"),
        ("RECOVERY_INTERVAL", "1m"),
        ("PASSWORD_MIN_LENGTH", "8"),
        ("PASSWORD_MIN_LENGTH", "64"),
    ],
)
def test_a_value_on_its_bound_is_allowed(configure: Configure, name: str, value: str) -> None:
    """A value equal to a bound is allowed, as the messages say."""
    configure(**{name: value})


def test_all_errors_are_reported_together(configure: Configure) -> None:
    """One start reports all mistakes, from the environment and from the file."""
    found = mistakes(
        configure,
        'registration = "perhaps"\ncolour = "teal"\n',
        ALGORITHM="none",
        GRACE="soon",
        ISSUER="http://auth.example.com",
        TRUSTED_ORIGINS="*",
        DATABSE="sqlite:///x.db",
    )
    named = "\n".join(found)
    assert len(found) == 7
    for name in ("ALGORITHM", "GRACE", "ISSUER", "TRUSTED_ORIGINS", "DATABSE", "handstamp.toml: registration", "colour"):
        assert name in named


def test_contradicting_numbers_are_reported_together(configure: Configure) -> None:
    """One start reports contradictory numbers together with values that cannot be parsed."""
    named = "\n".join(mistakes(configure, ACCESS_LIFETIME="2h", GRACE="5m", SESSION_LIFETIME="500d", ALGORITHM="none"))
    for name in ("HANDSTAMP_ACCESS_LIFETIME", "HANDSTAMP_GRACE", "HANDSTAMP_SESSION_LIFETIME", "HANDSTAMP_ALGORITHM"):
        assert name in named


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("DATABSE", "DATABASE"),
        ("ISSUER_URL", "ISSUER"),
        ("ACCESS_LIFETIM", "ACCESS_LIFETIME"),
        ("TRUSTED_ORIGIN", "TRUSTED_ORIGINS"),
        ("SECRETFILE", "SECRET_FILE"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(configure: Configure, typed: str, meant: str) -> None:
    """A misspelt setting is refused with the nearest name, because its author believes that it is in force."""
    assert mistakes(configure, **{typed: "x"}) == (f"HANDSTAMP_{typed} is not a setting. Did you mean HANDSTAMP_{meant}?",)


def test_an_unknown_name_without_similar_names_lists_all(configure: Configure) -> None:
    """If no name is similar, the message lists all names."""
    (sentence,) = mistakes(configure, QQQQQQQQQQQQQQQQ="x")
    assert all(f"HANDSTAMP_{name.upper()}" in sentence for name in PARSERS)


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest_one(configure: Configure) -> None:
    """An unknown name in the file is refused in the same way, and the message names the file."""
    (sentence,) = mistakes(configure, 'databse = "sqlite:///x.db"\n')
    assert sentence == "handstamp.toml: databse is not a setting. Did you mean HANDSTAMP_DATABASE?"


def test_the_file_is_read_with_its_own_types(configure: Configure) -> None:
    """TOML numbers, lists and booleans are used directly; text is parsed as in the environment."""
    settings = configure(
        'access_lifetime = 600\nrefresh_idle_lifetime = "7d"\nrecovery_interval = "off"\ncatch_up = false\n'
        'trusted_origins = ["https://a.example.com", "https://b.example.com"]\naudience = "https://api.example.com"\n'
    )
    assert (settings.access_lifetime, settings.refresh_idle_lifetime, settings.recovery_interval) == (600, 604_800, None)
    assert settings.catch_up is False
    assert settings.trusted_origins == ("https://a.example.com", "https://b.example.com")
    assert settings.audience == ("https://api.example.com",)


def test_precedence_is_arguments_environment_file(configure: Configure) -> None:
    """Arguments override the environment, and the environment overrides the file."""
    settings = configure('algorithm = "RS256"\naccess_lifetime = "5m"\n', ACCESS_LIFETIME="10m")
    assert (settings.algorithm, settings.access_lifetime) == ("RS256", 600)
    assert load(access_lifetime="20m", algorithm=None).access_lifetime == 1200


@pytest.mark.parametrize("text", [b"algorithm = \n", b"= 3\n", b'algorithm = "ES256', b"\xff\xfe\x00"])
def test_an_invalid_toml_file_is_named(configure: Configure, text: bytes) -> None:
    """A file that is not TOML is refused with its path."""
    (sentence,) = mistakes(configure, text)
    assert "handstamp.toml" in sentence


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://api.example.com", ("https://api.example.com",)),
        ("https://api.example.com,https://shop.example.com", ("https://api.example.com", "https://shop.example.com")),
        ("https://api.example.com, https://shop.example.com", ("https://api.example.com", "https://shop.example.com")),
        ("https://api.example.com https://shop.example.com", ("https://api.example.com", "https://shop.example.com")),
        ("", ()),
        ("  ", ()),
    ],
)
def test_lists_are_separated_by_commas_or_spaces(configure: Configure, value: str, expected: tuple[str, ...]) -> None:
    """A list in the environment is one text, separated by commas or spaces."""
    assert configure(AUDIENCE=value).audience == expected


@pytest.mark.parametrize(
    "issuer",
    [
        "https://auth.example.com",
        "https://auth.example.com:8443",
        "https://auth.example.com/tenant",
        "http://localhost:8000",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://auth.localhost",
    ],
)
def test_valid_issuers_are_kept_unchanged(configure: Configure, issuer: str) -> None:
    """A valid issuer is kept byte for byte (RFC 8414 §2, R8). Plain http is allowed only on loopback."""
    assert configure(ISSUER=issuer).issuer == issuer


@pytest.mark.parametrize(
    ("issuer", "why"),
    [
        ("http://auth.example.com", "https off loopback"),
        ("http://192.168.1.5:8000", "https off loopback"),
        ("http://0.0.0.0:8000", "https off loopback"),
        ("http://localhost.example.com", "https off loopback"),
        ("https://auth.example.com/", "slash"),
        ("https://auth.example.com/tenant/", "slash"),
        ("https://auth.example.com?tenant=1", "without query or fragment"),
        ("https://auth.example.com?", "without query or fragment"),
        ("https://auth.example.com#top", "without query or fragment"),
        ("https://auth.example.com#", "without query or fragment"),
        ("https://ada@auth.example.com", "public URL"),
        ("https://ada:pw@auth.example.com", "public URL"),
        ("https://:pw@auth.example.com", "public URL"),
        ("auth.example.com", "public URL"),
        ("ftp://auth.example.com", "public URL"),
        ("https://", "public URL"),
        ("https:///path", "public URL"),
        ("https://[::1", ""),
        ("https://auth.example.com:port", ""),
        ("https://auth.example.com:99999", ""),
        ("https://auth example.com", ""),
        (" https://auth.example.com", ""),
    ],
)
def test_invalid_issuers_are_refused(configure: Configure, issuer: str, why: str) -> None:
    """An issuer that is not a valid identifier, or would send tokens unencrypted, is refused (RFC 8414 §2)."""
    (sentence,) = mistakes(configure, ISSUER=issuer)
    assert sentence.startswith("HANDSTAMP_ISSUER: ")
    assert why in sentence


def test_an_issuers_scheme_is_lower_case(configure: Configure) -> None:
    """`HTTPS://` is refused, because the code for cookies would treat it as plain http."""
    assert mistakes(configure, ISSUER="HTTPS://auth.example.com")


@pytest.mark.parametrize(
    "origins", ["https://app.example.com", "https://app.example.com:8443", "http://localhost:3000", "http://127.0.0.1:5173"]
)
def test_valid_origins_are_trusted(configure: Configure, origins: str) -> None:
    """A trusted origin is scheme, host and port, as browsers send it."""
    assert configure(TRUSTED_ORIGINS=origins).trusted_origins == (origins,)


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "https://*",
        "https://*.example.com",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://App.example.com",
        "https://ada@app.example.com",
        "https://app.example.com:443",
        "http://localhost:80",
        "http://app.example.com",
        "file://",
        "chrome-extension://abcdef",
        "https://app.example.com,null",
    ],
)
def test_invalid_origins_are_refused(configure: Configure, origin: str) -> None:
    """Wildcards, `null` and origins that no browser sends are refused at start."""
    (sentence,) = mistakes(configure, TRUSTED_ORIGINS=origin)
    assert sentence.startswith("HANDSTAMP_TRUSTED_ORIGINS: ")


@pytest.mark.parametrize("proxies", ["10.0.0.1", "10.0.0.0/8", "fd00::/8", "127.0.0.1, ::1", "unix", "unix, 10.0.0.1"])
def test_proxies_are_addresses_or_networks(configure: Configure, proxies: str) -> None:
    """Proxies are configured by address or network; only their forwarded addresses are trusted."""
    assert ", ".join(configure(TRUSTED_PROXIES=proxies).trusted_proxies) == proxies


@pytest.mark.parametrize("proxies", ["10.0.0.5/8", "10.0.0.1 fd00::1/8", "192.168.1.1/24"])
def test_an_address_with_the_length_of_a_network_is_refused(configure: Configure, proxies: str) -> None:
    """It may mean the address or the network. A proxy that is silently not trusted makes all people one network."""
    (sentence,) = mistakes(configure, TRUSTED_PROXIES=proxies)
    assert "10.0.0.0/8" in sentence
    assert "10.0.0.5" in sentence


@pytest.mark.parametrize(
    "proxies", ["0.0.0.0/0", "::/0", "10.1.2.3/0", "*", "proxy.example.com", "10.0.0.0/33", "10.0.0.1 0.0.0.0/0"]
)
def test_trusting_all_addresses_is_refused(configure: Configure, proxies: str) -> None:
    """A network of all addresses is refused, because any client could then choose its address (T25)."""
    (sentence,) = mistakes(configure, TRUSTED_PROXIES=proxies)
    assert sentence.startswith("HANDSTAMP_TRUSTED_PROXIES: ")


def test_hosts_of_other_services_that_may_be_private(configure: Configure) -> None:
    """They are written as URLs contain them; networks, ports and URLs are refused."""
    assert configure(OUTBOUND_ALLOW="keycloak.internal 10.0.0.5, [fd00::1] localhost").outbound_allow == (
        *("keycloak.internal", "10.0.0.5", "fd00::1", "localhost"),
    )
    for wrong in ("10.0.0.0/8", "https://keycloak.internal", "keycloak.internal:8443", "*.internal", "Keycloak.internal"):
        (sentence,) = mistakes(configure, OUTBOUND_ALLOW=f"a.example {wrong}")
        assert sentence.startswith("HANDSTAMP_OUTBOUND_ALLOW: entry 2: ")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("", False),
    ],
)
def test_loopback_addresses_are_recognised(host: str, expected: bool) -> None:
    """Only loopback hosts count as local; a name that merely looks local does not."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("toml", "environment"),
    [
        ("", {"SECRET": SECRET, "ALGORITHM": "none"}),
        (f'secret = "{SECRET}"\nalgorithm = "none"\n', {}),
        (f'secret = ["{SECRET}"]\n', {}),
        (f'[secret]\nvalue = "{SECRET}"\n', {}),
        (f'secret = "{SECRET}\n', {}),
        ("", {"SECRT": SECRET}),
        (f'secrt = "{SECRET}"\n', {}),
        ("", {"DATABASE": f"postgresql://handstamp:{SECRET}@db/handstamp"}),
        ("", {"ISSUER": f"https://ada:{SECRET}@auth.example.com"}),
        ("", {"PASSWORD_MIN_LENGTH": SECRET}),
        ("", {"TRUSTED_ORIGINS": f"https://ada:{SECRET}@app.example.com/"}),
    ],
)
def test_no_refusal_repeats_a_secret(configure: Configure, toml: str, environment: dict[str, str]) -> None:
    """No message contains a secret, because it goes to logs and screens (R32)."""
    with pytest.raises(ConfigurationError) as refused:
        configure(toml, **environment)
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(refused.value)


def test_settings_do_not_show_their_secret(configure: Configure) -> None:
    """`repr`, `str` and a dump do not show the master secret (R32)."""
    settings = configure(SECRET=SECRET)
    assert SECRET not in f"{settings!r} {settings} {dataclasses.asdict(settings)}"
    assert settings.secret is not None
    assert settings.secret.derive("test") == MasterSecret(SECRET.encode()).derive("test")


def test_settings_cannot_be_changed_after_the_start(configure: Configure) -> None:
    """Settings are immutable, so they stay as they were checked."""
    settings = configure()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.grace = 3600  # type: ignore[misc]


def test_without_an_environment_defaults_apply(configure: Configure) -> None:
    """Settings without an environment ignore the environment and the file; given values are checked as usual."""
    with pytest.raises(ConfigurationError):
        configure("nonsense = 1", GRACE="nonsense", SECRT=SECRET)
    settings = without_environment(issuer="http://localhost:8000", access_lifetime="30s")
    assert (settings.issuer, settings.access_lifetime, settings.grace) == ("http://localhost:8000", 30, 10)
    with pytest.raises(ConfigurationError, match="between"):
        without_environment(access_lifetime="1s")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HANDSTAMP_SERVICE_HOST", "10.96.12.7"),
        ("HANDSTAMP_SERVICE_HOST", "fd00::1"),
        ("HANDSTAMP_SERVICE_PORT", "80"),
        ("HANDSTAMP_SERVICE_PORT_HTTP", "80"),
        ("HANDSTAMP_PORT", "tcp://10.96.12.7:80"),
        ("HANDSTAMP_PORT_80_TCP", "tcp://10.96.12.7:80"),
        ("HANDSTAMP_PORT_80_TCP_PROTO", "tcp"),
        ("HANDSTAMP_PORT_80_TCP_PORT", "80"),
        ("HANDSTAMP_PORT_80_TCP_ADDR", "10.96.12.7"),
        ("HANDSTAMP_FEED_SERVICE_HOST", "10.96.12.8"),
        ("HANDSTAMP_FEED_PORT_80_TCP_ADDR", "10.96.12.8"),
        ("HANDSTAMP_NAME", "/web/handstamp"),
    ],
)
def test_variables_of_kubernetes_and_docker_are_ignored(name: str, text: str) -> None:
    """Variables that Kubernetes and Docker set for a service named `handstamp` are ignored."""
    load({name: text})


def test_a_port_is_a_setting_and_an_address_of_kubernetes_is_not() -> None:
    """`HANDSTAMP_PORT` has two meanings, which its value tells apart."""
    assert load({"HANDSTAMP_PORT": "9000"}).port == 9000
    assert load({"HANDSTAMP_PORT": "tcp://10.96.12.7:80"}).port == 8000


@pytest.mark.parametrize(("name", "text"), [("HANDSTAMP_PORT", "localhost"), ("HANDSTAMP_PORTS", "80"), ("HANDSTAMP_NAME", "me")])
def test_a_misspelt_setting_is_not_taken_for_a_docker_link(name: str, text: str) -> None:
    """A similar variable that a person may have meant as a setting is refused."""
    with pytest.raises(ConfigurationError, match=name):
        load({name: text})

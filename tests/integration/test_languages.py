"""The language of pages and problems over HTTP: who chooses it, and what the header fields say."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.helpers import new_email
from tests.serving import PASSWORD, cookie_name

PATIENCE_S = 30


def get(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    """Send a GET request as a browser does."""
    return client.get(path, headers={"sec-fetch-site": "none"} | {name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize(
    ("path", "status", "title"),
    [
        ("/profile", 401, "Es wurde kein Token gesendet"),
        ("/nothing", 404, "Nicht gefunden"),
        ("/login", 405, "Methode nicht erlaubt"),
    ],
)
def test_a_problem_is_in_the_language_of_the_request(client: httpx.Client, path: str, status: int, title: str) -> None:
    """Texts follow `Accept-Language`; the code, the type and the other header fields do not change."""
    english, german = client.get(path), get(client, path, accept_language="de-AT, en;q=0.5")
    assert english.status_code == german.status_code == status
    assert german.json()["title"] == title
    assert german.json()["detail"] != english.json()["detail"]
    for member in ("code", "type", "status"):
        assert german.json()[member] == english.json()[member]
    assert german.headers.get("www-authenticate") == english.headers.get("www-authenticate")
    for answer, tag in ((english, "en"), (german, "de")):
        assert answer.headers["content-language"] == tag
        assert "accept-language" in answer.headers["vary"].lower()


def test_fields_are_explained_in_the_language_of_the_request(client: httpx.Client) -> None:
    """The names of fields stay, what is wrong with them is translated."""
    answer = client.post("/register", json={"email": "ada", "password": "short"}, headers={"accept-language": "fr"})
    problems = {field["name"]: field["problem"] for field in answer.json()["fields"]}
    assert problems["password"].startswith("est trop court")
    assert problems["email"] == "Ce n’est pas une adresse e-mail valable."
    assert answer.json()["detail"] == "; ".join(f"{name}: {problem}" for name, problem in problems.items())


@pytest.mark.parametrize("header", ["x" * 8000, "de;q=" * 1000, ",".join(["de-x"] * 1500), "\xe4\xf6", "zz", "*", "de;q=0"])
def test_a_hostile_accept_language_is_no_error(client: httpx.Client, header: str) -> None:
    """Whatever it says, the answer is the same as without it, in one of the languages."""
    answer = client.get("/profile", headers=[(b"accept-language", header.encode("latin-1"))])
    assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")
    assert answer.headers["content-language"] in {"en", "de"}


def test_a_page_is_in_the_language_of_the_browser(client: httpx.Client) -> None:
    """The page names its language and its direction, so that screen readers and browsers treat it well."""
    page = get(client, "/sign-in", accept_language="ar-EG,ar;q=0.9,en;q=0.8")
    assert '<html lang="ar" dir="rtl">' in page.text
    assert "تسجيل الدخول" in page.text
    assert "Sign in" not in page.text
    assert page.headers["content-language"] == "ar"
    assert '<html lang="en" dir="ltr">' in get(client, "/sign-in").text


def test_an_application_chooses_the_language(client: httpx.Client) -> None:
    """`ui_locales` overrides the browser, and a cookie keeps it for the form that follows, until another one is asked for."""
    name = cookie_name("language", str(client.base_url))
    page = get(client, "/sign-in?ui_locales=xx%20fr-CA%20en", accept_language="de")
    assert "Se connecter" in page.text
    (cookie,) = [each for each in page.headers.get_list("set-cookie") if "language" in each]
    assert cookie.startswith(f"{name}=fr; Path=/; Max-Age=86400")
    assert "HttpOnly" in cookie
    sent = {"cookie": f"{name}=fr", "accept-language": "de", "sec-fetch-site": "same-origin"}
    form = client.post("/sign-in", data={"email": new_email(), "password": "not this one at all"}, headers=sent)
    assert "Cette adresse e-mail et ce mot de passe ne correspondent pas." in form.text
    assert name not in form.headers["set-cookie"]
    assert "Iniciar sesión" in client.get("/sign-in?ui_locales=es", headers=sent).text


@pytest.mark.parametrize("query", ["ui_locales=xx", "ui_locales=", "ui_locales=../../etc/passwd", "ui_locales=%00de"])
def test_an_unknown_language_changes_nothing(client: httpx.Client, query: str) -> None:
    """The browser's language decides, and no cookie is set. A cookie with another value is ignored, too."""
    name = cookie_name("language", str(client.base_url))
    page = get(client, f"/sign-in?{query}", accept_language="de", cookie=f"{name}=../../etc/passwd")
    assert '<html lang="de"' in page.text
    assert name not in page.headers["set-cookie"]


def test_an_error_page_is_in_the_language_of_the_browser(client: httpx.Client) -> None:
    """Also where the request is refused before its handler runs."""
    page = get(client, "/sign-in?return_to=//x", accept_language="es")
    assert page.status_code == 400
    assert "<title>No se entiende la solicitud</title>" in page.text
    longer = get(client, "/sign-in?" + "a&" * 40, accept_language="es")
    assert "La cadena de consulta tiene más de 32 campos." in longer.text


def sign_up(client: httpx.Client, **headers: str) -> dict[str, str]:
    """Create an account on the page in a browser that reads German; return the headers of its further requests."""
    sent = {"sec-fetch-site": "same-origin", "user-agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0", "accept-language": "de"}
    signed_in = client.post("/create-account", data={"email": new_email(), "password": PASSWORD}, headers=sent | headers)
    assert signed_in.status_code == 303, signed_in.text
    cookies = "; ".join(header.partition(";")[0] for header in signed_in.headers.get_list("set-cookie"))
    return sent | {"cookie": cookies}


def test_the_account_page_is_translated_as_a_whole(client: httpx.Client) -> None:
    """Devices, times and notices too: nothing of the English page is left."""
    page = client.get("/account?done=session", headers=sign_up(client))
    for words in ("Wo Sie angemeldet sind", "Firefox unter Linux", "gerade eben", "hier seit dem", "Das Gerät ist abgemeldet."):
        assert words in page.text
    for words in ("Sign", "seen", "device", "since"):
        assert f"{words} " not in page.text


def test_the_language_of_the_account_overrides_the_browser(client: httpx.Client) -> None:
    """It is that of the page on which the account was created, until the person chooses another one, or that of each browser."""
    headers = sign_up(client)
    elsewhere = headers | {"accept-language": "fr"}
    assert '<html lang="de"' in client.get("/account", headers=elsewhere).text
    assert "Votre compte" in client.get("/account?ui_locales=fr", headers=elsewhere).text
    saved = client.post("/account/profile", data={"language": "ar", "name": ""}, headers=headers)
    assert f"{cookie_name('language', str(client.base_url))}=; Path=/; Max-Age=0" in saved.headers["set-cookie"]
    page = client.get("/account?done=profile", headers=elsewhere).text
    assert '<html lang="ar" dir="rtl">' in page
    assert '<option value="ar" lang="ar" selected>' in page
    assert client.post("/account/profile", data={"language": "", "name": ""}, headers=headers).status_code == 303
    assert '<html lang="fr"' in client.get("/account", headers=elsewhere).text
    wrong = client.post("/account/profile", data={"language": "xx", "name": ""}, headers=headers)
    assert wrong.status_code == 422


def test_an_application_changes_the_language(client: httpx.Client) -> None:
    """The API has the language of the account too: as it was at the registration, and as it is changed."""
    email = new_email()
    german = {"accept-language": "de-AT"}
    assert client.post("/register", json={"email": email, "password": PASSWORD}, headers=german).status_code == 201
    token = client.post("/login", json={"email": email, "password": PASSWORD}).json()["accessToken"]
    headers = {"authorization": f"Bearer {token}"}
    assert client.get("/profile", headers=headers).json()["language"] == "de"
    changed = client.post("/profile", json={"language": "es"}, headers=headers)
    assert (changed.status_code, changed.json()["language"], changed.json()["name"]) == (200, "es", "")
    wrong = client.post("/profile", json={"language": "xx"}, headers=headers)
    assert (wrong.status_code, wrong.json()["fields"][0]["name"]) == (422, "language")

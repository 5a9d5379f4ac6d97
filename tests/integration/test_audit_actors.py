"""Every event says who did it: each operation and each command that changes something is run, and leaves the events it should."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.domain.event import EVENT_KINDS, Event
from handstamp.domain.identity import Identity
from handstamp.domain.mail import AddressChanged
from handstamp.service.parts.audit import Audit
from handstamp.web.routing import OPERATIONS
from tests.authenticator import Authenticator
from tests.commands import run_command
from tests.deployment import operator
from tests.integration.test_command_line import COMMANDS
from tests.integration.test_every_way_in import App
from tests.mailed import ORIGIN, PASSWORD, Mailed, mailed, token_in

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
ADA, NEW = "ada@example.com", "ada@new.example.com"
OTHER_PASSWORD = "another sentence that nobody says"
Did = set[tuple[str, str]]
"""Kinds of events, each with who did it."""

OPERATION_EVENTS: dict[str, Did] = {
    "register": {("mail_requested", "visitor")},
    "register_confirm": {("account_created", "person"), ("signed_in", "person")},
    "login": {("signed_in", "person")},
    "login_code": {("mail_requested", "visitor")},
    "login_code_confirm": {("signed_in", "person")},
    "second_factor": {("signed_in", "person")},
    "step_up": {("stepped_up", "person")},
    "confirm_totp": {("factor_added", "person")},
    "remove_totp": {("factor_removed", "person")},
    "make_recovery_codes": {("recovery_codes_made", "person")},
    "passkey_login": {("signed_in", "person")},
    "add_passkey": {("factor_added", "person")},
    "rename_passkey": {("factor_renamed", "person")},
    "remove_passkey": {("factor_removed", "person")},
    "unlink_identity": {("identity_unlinked", "person")},
    "email_verify": {("mail_requested", "person")},
    "email_verify_confirm": {("email_verified", "person")},
    "refresh": {("refreshed", "person")},
    "token": {("refreshed", "person")},
    "change_profile": {("profile_changed", "person")},
    "logout": {("session_ended", "person")},
    "revoke": {("session_ended", "person")},
    "end_session": {("session_ended", "person")},
    "logout_everywhere": {("logged_out_everywhere", "person")},
    "change_password": {("password_changed", "person")},
    "reset_password": {("mail_requested", "visitor")},
    "reset_password_confirm": {("password_reset", "person")},
    "email_change": {("mail_requested", "person")},
    "email_change_confirm": {("email_changed", "person")},
    "email_change_undo": {("email_change_undone", "person")},
    "undo_factor": {("factor_undone", "person")},
    "export_data": {("data_exported", "person")},
    "delete_account": {("account_deleted", "person")},
}
"""What each operation that is run here leaves, if it succeeds."""
NO_EVENTS = {
    "begin_totp": "nothing is stored",
    "passkey_login_options": "nothing is stored",
    "passkey_options": "nothing is stored",
    "login_with": "nothing is stored",
    "link_identity": "nothing is stored",
    "introspect": "nothing is changed",
    "provider_token": "nothing is changed",
}
EACH_ACTION = "tests/integration/test_admin_access.py::test_each_action_is_recorded_with_who_did_it"
SESSIONS_END = "tests/integration/test_admin_service.py::test_sessions_end_and_tell_why"
CREDENTIALS = "tests/integration/test_admin_service.py::test_credentials_are_made_once_and_give_no_more_power"
KEYS = "tests/integration/test_admin_service.py::test_keys_are_rotated_retired_and_voided"
MAILS = "tests/integration/test_admin_service.py::test_mail_that_waits_is_seen_retried_and_dropped"
BINDS = "tests/integration/test_device_bound.py::test_a_browser_binds_its_session_and_renews_it"
LOOKS = "tests/integration/test_impersonation.py::test_the_person_is_told_and_nothing_counts_as_their_sign_in"
ELSEWHERE: dict[str, tuple[str, str]] = {
    "admin_sign_out": ("logged_out_everywhere", SESSIONS_END),
    "admin_end_session": ("session_ended", SESSIONS_END),
    "admin_create_credential": ("credential_added", CREDENTIALS),
    "admin_remove_credential": ("credential_removed", CREDENTIALS),
    "admin_rotate_keys": ("key_added", KEYS),
    "admin_retire_key": ("key_removed", KEYS),
    "admin_void_key": ("key_voided", KEYS),
    "admin_drop_mail": ("mail_dropped", MAILS),
    "admin_retry_mails": ("mails_retried", MAILS),
    "admin_create_account": ("account_created", EACH_ACTION),
    "admin_change_account": ("profile_changed", EACH_ACTION),
    "admin_delete_account": ("account_deleted", EACH_ACTION),
    "admin_rename_account": ("account_renamed", EACH_ACTION),
    "admin_set_password": ("password_changed", EACH_ACTION),
    "admin_grant_role": ("role_granted", EACH_ACTION),
    "admin_revoke_role": ("role_revoked", EACH_ACTION),
    "admin_disable_account": ("account_disabled", EACH_ACTION),
    "admin_enable_account": ("account_enabled", EACH_ACTION),
    "admin_unlock_account": ("account_unlocked", EACH_ACTION),
    "admin_send_reset_mail": ("mail_requested", "tests/integration/test_admin_forms.py::test_a_reset_mail_is_sent_over_the_api"),
    "admin_reset_factors": ("factors_reset", "tests/integration/test_admin_access.py::test_lost_factors_are_reset"),
    "admin_impersonate": ("impersonation_begun", LOOKS),
    "admin_make_impersonation_link": (
        "impersonation_begun",
        "tests/integration/test_impersonation.py::test_a_link_begins_a_look_once_in_a_browser_without_a_session",
    ),
    "complete_login_with": ("signed_in", "tests/integration/test_provider_sign_in.py::test_the_whole_way"),
    "complete_link": ("identity_linked", "tests/integration/test_identities.py::test_a_person_adds_a_provider_and_removes_it"),
    "backchannel_logout": (
        "session_ended",
        "tests/integration/test_identities.py::test_signing_out_there_ends_the_sessions_that_began_there",
    ),
    "start_device_session": ("device_bound", BINDS),
    "refresh_device_session": ("device_renewed", BINDS),
}
"""Operations that need another party: each with an event that it leaves, and the test that expects this event."""


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[Event]:
    """Collect all events. Each must come from a client that its kind allows, and from a place if a client did it."""
    caplog.set_level(logging.DEBUG, "handstamp.audit")  # routine events are made only if they are logged
    events: list[Event] = []
    log = Audit.log

    def collect(audit: Audit, event: Event) -> None:
        assert event.actor in EVENT_KINDS[event.kind].actors, event
        assert event.ip or event.actor in ("operator", "service", "application"), event
        events.append(event)
        log(audit, event)

    monkeypatch.setattr(Audit, "log", collect)
    return events


def test_every_operation_that_writes_has_its_events() -> None:
    """A new operation must say what it leaves in the audit trail."""
    writing = {operation.run.__name__ for operation in OPERATIONS if operation.method != "GET"} | {"export_data"}
    named = [*OPERATION_EVENTS, *NO_EVENTS, *ELSEWHERE]
    assert len(named) == len(set(named))
    assert set(named) == writing


class Person:
    """A person with a client, whose requests are compared with what they should leave."""

    def __init__(self, service: Mailed, client: httpx.AsyncClient, logged: list[Event]) -> None:
        """Nobody is signed in yet."""
        self.service, self.client, self.logged = service, client, logged
        self.tokens: dict[str, Any] = {}
        self.done: set[str] = set()

    async def do(
        self,
        name: str,
        body: dict[str, Any] | None = None,
        *,
        path: str = "",
        instead: Did | None = None,
        credential: tuple[str, str] | None = None,
        status: int = 0,
    ) -> Any:
        """Run an operation, which succeeds without `status`, and check its events; `instead` are those of this case.

        The clock goes on, so that mails have an order.
        """
        self.service.clock.advance(ms=1)
        operation = next(each for each in OPERATIONS if each.run.__name__ == name)
        before = len(self.logged)
        headers = {"authorization": f"Bearer {self.tokens['accessToken']}"} if self.tokens and credential is None else {}
        content: dict[str, Any] = {} if body is None else {"json" if operation.form is None else "data": body}
        answer = await self.client.request(operation.method, path or operation.path, headers=headers, auth=credential, **content)
        assert answer.status_code == status if status else answer.status_code < 300, (name, answer.text)
        left = {(event.kind, event.actor) for event in self.logged[before:]}
        assert left == (OPERATION_EVENTS.get(name, set()) if instead is None else instead), name
        self.done.add(name)
        found = answer.json() if answer.content else {}
        if isinstance(found, dict) and "accessToken" in found:
            self.tokens = found
        return found

    @property
    def last(self) -> Did:
        """The last event."""
        return {(self.logged[-1].kind, self.logged[-1].actor)}

    async def token(self) -> str:
        """Return the token of the link in the newest mail."""
        return token_in((await self.service.content()).link)

    async def make_credential(self) -> tuple[str, str]:
        """Create a service credential, as an operator does."""
        made, secret = await self.service.deployment.credentials.create("test", operator(self.service.clock))
        return made.id, secret

    async def sign_in(self, password: str = PASSWORD, email: str = ADA) -> None:
        """Sign in with the password alone."""
        self.tokens = {}
        await self.do("login", {"email": email, "password": password})


async def test_every_operation_leaves_its_events(tmp_path: Path, logged: list[Event]) -> None:
    """The life of a person, who uses all there is."""
    smtp_url = "smtp://127.0.0.1:9"  # nothing is there, so that all mail stays in the outbox
    async with mailed(tmp_path, smtp_url=smtp_url, mail_from="no-reply@example.com", sign_in_by_code=True) as service:
        person = Person(service, await service.program(), logged)
        await sign_up_and_in(person)
        await use_factors(person)
        await leave_the_rest(person)
        await change_all(person)
        assert person.done >= OPERATION_EVENTS.keys()


async def sign_up_and_in(person: Person) -> None:
    """Create an account, sign in in all ways that need a mail or a password, and end sessions in all ways."""
    await person.do("register", {"email": ADA, "password": PASSWORD})
    await person.do("register_confirm", {"token": await person.token(), "password": PASSWORD})
    await person.do("login_code", {"email": ADA})
    await person.do("login_code_confirm", {"token": await person.token()})
    await person.do("refresh", {"refreshToken": person.tokens["refreshToken"]})
    form = {"grant_type": "refresh_token", "refresh_token": person.tokens["refreshToken"]}
    renewed = await person.do("token", form)
    await person.do("step_up", {"password": PASSWORD})
    await person.do("introspect", {"token": renewed["access_token"]}, credential=await person.make_credential())
    await person.do("revoke", {"token": renewed["refresh_token"]})
    await person.sign_in()
    await person.do("end_session", path=f"/sessions/{person.tokens['sessionId']}")
    await person.sign_in()
    await person.do("logout", {"refreshToken": person.tokens["refreshToken"]})
    await person.sign_in()
    await person.do("logout_everywhere")
    person.tokens = {}


async def use_factors(person: Person) -> None:
    """Add, use and remove an app and a passkey."""
    await person.sign_in()
    app = App(person.service)
    begun = await person.do("begin_totp", {})
    app.secret = begun["secret"].replace(" ", "")
    await person.do("confirm_totp", {"enrolment": begun["enrolment"], "code": app.code()})
    person.tokens = {}
    first = await person.do("login", {"email": ADA, "password": PASSWORD}, instead=set())
    await person.do("second_factor", {"challenge": first["challenge"], "ticket": first["ticket"], "code": app.code()})
    await person.do("make_recovery_codes", {})
    device = Authenticator(ORIGIN)
    options = await person.do("passkey_options", {})
    made = {"passkeyChallenge": options["challenge"], "ticket": options["ticket"], "passkey": device.make(options["publicKey"])}
    added = await person.do("add_passkey", made)
    await person.do("rename_passkey", {"name": "Key"}, path=f"/passkeys/{added['id']}")
    person.tokens = {}
    options = await person.do("passkey_login_options", {})
    used = {"challenge": options["challenge"], "ticket": options["ticket"], "passkey": device.use(options["publicKey"])}
    await person.do("passkey_login", used)
    await person.do("remove_passkey", path=f"/passkeys/{added['id']}")
    await person.do("remove_totp")


async def leave_the_rest(person: Person) -> None:
    """Fail, repeat, use old tokens and recovery codes, and let operators act."""
    service, deployment = person.service, person.service.deployment
    await person.sign_in()
    app = App(service)
    begun = await person.do("begin_totp", {})
    app.secret = begun["secret"].replace(" ", "")
    enrolled = await person.do("confirm_totp", {"enrolment": begun["enrolment"], "code": app.code()})
    person.tokens = {}
    first = await person.do("login", {"email": ADA, "password": PASSWORD}, instead=set())
    recovery = {"challenge": first["challenge"], "ticket": first["ticket"], "recoveryCode": enrolled["recoveryCodes"][0]}
    await person.do("second_factor", recovery, instead={("recovery_code_used", "person"), ("signed_in", "person")})
    await deployment.accounts.reset_factors(ADA, operator(service.clock))
    assert person.last == {("factors_reset", "operator")}
    person.tokens = {}
    person.client.headers["idempotency-key"] = "a-key-of-sixteen-or-more"
    for left in ({("signed_in", "person")}, {("request_repeated", "person")}):
        person.tokens = {}
        await person.do("login", {"email": ADA, "password": PASSWORD}, instead=left)
    del person.client.headers["idempotency-key"]
    old = {"refreshToken": person.tokens["refreshToken"]}
    await person.do("refresh", old)
    await person.do("refresh", old, instead={("repeated", "person")})
    await person.do("refresh", {"refreshToken": person.tokens["refreshToken"]})
    service.clock.advance(seconds=60)
    await person.do("refresh", old, instead={("reuse_detected", "visitor")}, status=401)
    person.tokens = {}
    await person.do("login", {"email": ADA, "password": "wrong words"}, instead={("sign_in_failed", "visitor")}, status=401)
    (waiting, _), *_ = (await deployment.mailing.queue.list_newest(limit=1))[0]
    await deployment.mailing.queue.drop(waiting.id, operator(service.clock))
    assert person.last == {("mail_dropped", "operator")}
    spare = await deployment.keys.rotate(operator(service.clock))
    assert person.last == {("key_added", "operator")}
    await deployment.keys.retire(spare.kid, operator(service.clock))
    assert person.last == {("key_removed", "operator")}


async def change_all(person: Person) -> None:
    """Change all that an account has, and delete it."""
    await person.sign_in()
    await person.do("change_profile", {"name": "Ada"})
    identity = Identity(
        id="identity",
        issuer="https://google.example",
        subject="ada-1",
        account_id=(await person.service.deployment.accounts.get_by_email(ADA)).id,
        provider="google",
        email=ADA,
        created_at_ms=person.service.clock(),
        used_at_ms=person.service.clock(),
    )
    await person.service.deployment.store.transact(lambda rows: rows.identities.insert(identity))
    await person.do("unlink_identity", path="/identities/identity")
    await person.do("export_data", path="/me/export")
    await person.do("change_password", {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD})
    await person.do("email_change", {"email": NEW})
    await person.do("email_change_confirm", {"token": await person.token()})
    letters = [letter.content for letter in await person.service.letters()]
    (undo,) = [content.undo_link for content in letters if isinstance(content, AddressChanged) and content.undo_link]
    person.tokens = {}
    await person.do("email_change_undo", {"token": token_in(undo)})
    await person.do("reset_password", {"email": ADA})
    body = {"token": await person.token(), "newPassword": PASSWORD}
    await person.do("reset_password_confirm", body)
    await person.sign_in()
    app = App(person.service)
    begun = await person.do("begin_totp", {})
    app.secret = begun["secret"].replace(" ", "")
    await person.do("confirm_totp", {"enrolment": begun["enrolment"], "code": app.code()})
    undo = (await person.service.content()).undo_link
    person.tokens = {}
    await person.do("undo_factor", {"token": token_in(undo)})
    await person.do("reset_password_confirm", {"token": await person.token(), "newPassword": PASSWORD})
    await person.sign_in()
    await person.do("delete_account", {"email": ADA})
    person.tokens = {}
    await person.service.create_account(NEW)
    await person.sign_in(email=NEW)
    await person.do("email_verify", {})
    await person.do("email_verify_confirm", {"token": await person.token()})


COMMAND_EVENTS: dict[str, tuple[list[str], Did]] = {
    "users create": (["ada@example.com", "--password-stdin"], {("account_created", "operator")}),
    "users disable": (["ada@example.com"], {("account_disabled", "operator")}),
    "users enable": (["ada@example.com"], {("account_enabled", "operator")}),
    "users unlock": (["ada@example.com"], {("account_unlocked", "operator")}),
    "users set-password": (["ada@example.com", "--password-stdin"], {("password_changed", "operator")}),
    "users grant": (["ada@example.com", "editor"], {("role_granted", "operator")}),
    "users revoke": (["ada@example.com", "editor"], {("role_revoked", "operator")}),
    "users rename": (["ada@example.com", "bob@example.com"], {("account_renamed", "operator")}),
    "users import": (["accounts.jsonl"], {("account_created", "operator")}),
    "users export": (["exported.jsonl"], {("accounts_exported", "operator")}),
    "users delete": (["bob@example.com", "--yes"], {("account_deleted", "operator")}),
    "keys rotate": ([], {("key_added", "operator")}),
    "keys retire": (["{kid}", "--now"], {("key_voided", "operator"), ("key_added", "operator")}),
    "credentials create": (["orders"], {("credential_added", "operator")}),
    "credentials remove": (["orders"], {("credential_removed", "operator")}),
}
"""Arguments of each command that changes something, in the order in which they are run, and what it leaves."""
COMMANDS_ELSEWHERE: dict[str, tuple[str, str]] = {
    "users reset-mail": ("mail_requested", "tests/mail/test_commands.py::test_a_person_is_sent_the_mail_for_a_new_password"),
    "users reset-factors": ("factors_reset", "tests/integration/test_user_commands.py::test_second_factors_are_shown_and_reset"),
    "sessions end": (
        "session_ended",
        "tests/integration/test_command_line.py::test_ending_a_session_takes_effect_at_the_next_request",
    ),
    "keys reseal": ("key_resealed", "tests/integration/test_second_factor.py::test_apps_survive_another_master_secret"),
    "mail queue": ("mail_dropped", "tests/mail/test_commands.py::test_the_queue_shows_what_waits"),
}
SILENT_COMMANDS = {
    "restore": "the whole database is replaced, with its audit trail; the log says it at the next start",
    "migrate": "the schema of a database that may have no table of events yet",
    "backup": "the database is read",
}
READING = {
    *("demo", "serve", "users list", "users factors", "sessions list", "why", "audit export", "audit webhook", "keys list"),
    *("keys timetable", "credentials list", "token inspect", "mail test", "doctor", "statistics"),
}


def test_every_command_that_changes_something_is_here() -> None:
    """A new command must say what it leaves in the audit trail."""
    named = [*COMMAND_EVENTS, *COMMANDS_ELSEWHERE, *SILENT_COMMANDS, *READING]
    assert sorted(named) == sorted(COMMANDS)


def test_every_command_leaves_its_events(tmp_path: Path) -> None:
    """Each is the operator's, from the command line of a user of this machine."""
    (tmp_path / "accounts.jsonl").write_text(json.dumps({"email": "carol@example.com"}) + "\n")

    def run(*arguments: str, **options: str) -> str:
        result = run_command(tmp_path, *arguments, **options)
        assert result.returncode == 0, result
        return result.stdout

    def export(after: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in run("audit", "export", "--after", str(after)).splitlines()]

    last = 0
    for name, (arguments, left) in COMMAND_EVENTS.items():
        kid = json.loads(run("keys", "list", "--json"))[0]["kid"] if "{kid}" in arguments else ""
        run(*name.split(), *(argument.format(kid=kid) for argument in arguments), stdin=PASSWORD)
        events = export(last)
        assert {(event["kind"], event["actor"]) for event in events} == left, name
        assert all(event["userAgent"].startswith("handstamp command line, user ") for event in events), name
        last = events[-1]["number"]


HERE = "tests/integration/test_audit_actors.py::test_every_operation_leaves_its_events"
BY_THEMSELVES: dict[str, tuple[str, str]] = {
    "account_locked": (
        "visitor",
        "tests/integration/test_guessing.py::test_the_hundredth_failure_in_a_row_locks_unknown_devices_until_an_operator_unlocks",
    ),
    "account_taken_over": (
        "person",
        "tests/integration/test_provider_sign_in.py::test_an_account_that_somebody_registered_before_is_taken_over",
    ),
    "attempt_throttled": ("visitor", "tests/integration/test_guessing.py::test_every_throttled_attempt_leaves_one_line"),
    "caught_up": ("person", "tests/integration/test_refresh.py::test_a_restored_database_ends_no_session"),
    "device_bound": ("person", BINDS),
    "device_renewed": ("person", "tests/integration/test_dpop.py::test_events_tell_of_keys_and_wrong_proofs"),
    "factors_reset": ("operator", HERE),
    "identity_linked": ("person", "tests/integration/test_provider_sign_in.py::test_the_whole_way"),
    "impersonation_begun": ("operator", LOOKS),
    "key_removed": ("operator", HERE),
    "key_resealed": ("operator", "tests/integration/test_second_factor.py::test_apps_survive_another_master_secret"),
    "mail_dropped": ("operator", HERE),
    "mail_given_up": ("service", "tests/mail/test_sending.py::test_a_final_refusal_is_given_up"),
    "mails_retried": ("operator", "tests/mail/test_commands.py::test_the_queue_shows_what_waits"),
    "proof_failed": ("visitor", "tests/integration/test_dpop.py::test_events_tell_of_keys_and_wrong_proofs"),
    "recovered": ("person", "tests/integration/test_refresh.py::test_one_late_retry_is_answered_and_remembered"),
    "recovery_code_used": ("person", HERE),
    "repeated": ("person", HERE),
    "request_repeated": ("person", HERE),
    "reuse_detected": ("visitor", HERE),
    "secrets_resealed": ("operator", "tests/integration/test_second_factor.py::test_apps_survive_another_master_secret"),
    "sessions_swept": ("service", "tests/integration/test_many_sessions.py::test_many_sessions_end_in_batches_within_one_call"),
    "sign_in_failed": ("visitor", HERE),
}
"""Kinds that no operation and no command above leaves when it succeeds, with the actor and the test of each."""


def test_every_kind_of_event_has_an_origin() -> None:
    """Each kind is left by an operation, by a command, or by the case of a test that is named here."""
    left = {pair for pairs in OPERATION_EVENTS.values() for pair in pairs}
    left |= {pair for _, pairs in COMMAND_EVENTS.values() for pair in pairs}
    left |= {(kind, actor) for kind, (actor, _) in BY_THEMSELVES.items()}
    assert {kind for kind, _ in left} == EVENT_KINDS.keys()
    assert all(actor in EVENT_KINDS[kind].actors for kind, actor in left)  # type: ignore[index]


def test_every_named_test_expects_its_event() -> None:
    """Each test that is named here exists and names the kind, itself or in what it uses of its file."""
    named = {*ELSEWHERE.values(), *COMMANDS_ELSEWHERE.values(), *((kind, test) for kind, (_, test) in BY_THEMSELVES.items())}
    assert {(kind, test) for kind, test in named if kind not in texts_of(test)} == set()


def texts_of(test: str) -> set[str]:
    """Return all strings in a test, and in the functions and constants of its file that it uses; none if it does not exist."""
    file, _, name = test.partition("::")
    assert name.startswith("test_"), test
    parts: dict[str, ast.AST] = {}
    for node in ast.parse((ROOT / file).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts[node.name] = node
        elif isinstance(node, ast.Assign):
            parts |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    texts: set[str] = set()
    waiting = [name]
    while waiting:
        for part in ast.walk(parts.pop(waiting.pop(), ast.Pass())):
            if isinstance(part, ast.Name):
                waiting.append(part.id)
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                texts.add(part.value)
    return texts

"""Record the answers of verifiers, second by second, during two outages: a cut network and a killed service.

Answers are HTTP statuses: 200 the token is accepted, 401 its session has ended, 503 the verifier cannot decide now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Annotated

import typer

from handstamp import HandstampError, KeySet, Verifier
from handstamp.verify.verifier import Check
from handstamp.wire.problems import row_of

from .proxy import Proxy
from .report import AsJson, Promise, Table, progress, show
from .service import Service, temporary_folder

_STALENESS_S = 5
_TIMEOUT_S = 0.3
_READY_S = 30
_BEFORE_S, _AFTER_S = 2, 8
_SIGN_OUT_AT_S, _NEWCOMERS_AT_S = 1, 2
_LIVING, _ENDED, _ENDING = "a", "b", "c"
_YES, _ENDED_SESSION, _CANNOT_TELL = 200, 401, 503


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another service, which reaches Handstamp over the network that is cut."""

    issuer: str
    service_url: str
    credential: str
    keys: KeySet

    def verifier(self, check: Check = "feed", *, is_given_keys: bool = False) -> Verifier:
        """Return a verifier with this policy."""
        return Verifier(
            self.issuer,
            audience=self.issuer,
            credential=None if check == "offline" else self.credential,
            keys=self.keys if is_given_keys else None,
            check=check,
            max_staleness_s=_STALENESS_S,
            timeout_s=_TIMEOUT_S,
            service_url=self.service_url,
        )


@dataclass(frozen=True, slots=True)
class Outage:
    """The times of an outage and the answers in each second, by policy and session."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    can_sign_out: bool
    seconds: int
    answers: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)

    def given(self, session: str, answer: int, *, but_by: str = "", by: str = "") -> list[int]:
        """Return the seconds in which any verifier gave this answer about a session."""
        return [
            second
            for (policy, of), answers in self.answers.items()
            for second, given in answers.items()
            if (of, given) == (session, answer) and policy != but_by and by in ("", policy)
        ]

    def was_right_after_s(self) -> int | None:
        """Return after how many seconds all verifiers but `offline` answered correctly for good; None if they did not."""
        right = {_LIVING: _YES, _ENDED: _ENDED_SESSION, _ENDING: _ENDED_SESSION}
        wrong = [
            second
            for (policy, session), answers in self.answers.items()
            for second, answer in answers.items()
            if policy != "offline" and second >= self.seconds and answer != right[session]
        ]
        after_s = max(wrong, default=self.seconds - 1) + 1 - self.seconds
        return after_s if after_s < _AFTER_S else None


def main(
    *,
    seconds: Annotated[int, typer.Option(help="How long each outage lasts.", min=_STALENESS_S + 2, max=12)] = 10,
    as_json: AsJson = False,
) -> None:
    """Print the answers of each policy before, during and after two outages."""
    with temporary_folder() as folder, Service(folder) as service, Proxy(service.port) as network:
        with service.client() as client:
            client.register()
            keys = KeySet.from_jwks(client.ask("GET", "/.well-known/jwks.json")[1])
        elsewhere = Elsewhere(service.url, network.url, service.credential("bench"), keys)
        outages = (
            Outage("The network is cut", network.cut, network.mend, can_sign_out=True, seconds=seconds),
            Outage("The service is killed, and started again", service.kill, service.start, can_sign_out=False, seconds=seconds),
        )
        for outage in outages:
            progress(f"{outage.name}, for {seconds} s")
            _go_through(outage, elsewhere, service)
    show(
        "outage",
        notes=(
            "Answers in the middle of each second from the begin: 200 let in, 401 the session has ended, 503 cannot tell now.",
            "Sessions: (a) lives, (b) was signed out before the outage, (c) was signed out one second after its begin.",
            f"feed: max_staleness_s={_STALENESS_S}. offline: without a credential, so it hears of no sign-out, as it declares.",
            "new: a verifier that starts two seconds into the outage; keys given: with the keys given by hand.",
            *(f"{outage.name}: {_recovery(outage)}" for outage in outages),
        ),
        tables=[_table(outage) for outage in outages],
        promises=_promises(outages),
        as_json=as_json,
    )


def _go_through(outage: Outage, elsewhere: Elsewhere, service: Service) -> None:
    """Ask each verifier about each session once a second: before, during and after the outage."""
    with ExitStack() as closed_after:
        threads = closed_after.enter_context(ThreadPoolExecutor(32))
        asked = {check: closed_after.enter_context(elsewhere.verifier(check)) for check in ("offline", "feed", "live")}
        _expect(all(verifier.wait_until_ready(_READY_S) for verifier in asked.values()))
        tokens = _sessions(outage, service)
        deadline = time.monotonic() + _READY_S
        while _answer(asked["feed"], tokens[_ENDED]) != _ENDED_SESSION and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic() + _BEFORE_S
        for second in range(-_BEFORE_S, outage.seconds + _AFTER_S):
            _sleep_until(began + second)
            if second == 0:
                outage.begin()
            elif second == _SIGN_OUT_AT_S and outage.can_sign_out:
                _sign_out(service, tokens[_ENDING])
            elif second == _NEWCOMERS_AT_S:
                asked |= {
                    "new": closed_after.enter_context(elsewhere.verifier()),
                    "new, keys given": closed_after.enter_context(elsewhere.verifier(is_given_keys=True)),
                }
            elif second == outage.seconds:
                threads.submit(outage.end)
            _sleep_until(began + second + 0.5)
            answers = {
                (policy, session): threads.submit(_answer, verifier, token)
                for policy, verifier in asked.items()
                for session, token in tokens.items()
            }
            for place, answer in answers.items():
                outage.answers.setdefault(place, {})[second] = answer.result()


def _sessions(outage: Outage, service: Service) -> dict[str, str]:
    """Return an access token of each session; session (b) is already signed out."""
    names = (_LIVING, _ENDED, _ENDING) if outage.can_sign_out else (_LIVING, _ENDED)
    with service.client() as client:
        tokens = {name: client.sign_in()["accessToken"] for name in names}
    _sign_out(service, tokens[_ENDED])
    return tokens


def _sign_out(service: Service, token: str) -> None:
    with service.client() as client:
        client.sign_out(token)


def _answer(verifier: Verifier, token: str) -> int:
    """Return the status that an adapter would answer."""
    try:
        verifier.verify(token)
    except HandstampError as error:
        return row_of(type(error))[0]
    return _YES


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _expect(held: bool) -> None:
    if not held:
        raise RuntimeError("the verifiers do not get ready")


def _recovery(outage: Outage) -> str:
    after_s = outage.was_right_after_s()
    return (
        "not all verifiers answered correctly again."
        if after_s is None
        else f"all verifiers answered correctly again {after_s} s after its end."
    )


def _table(outage: Outage) -> Table:
    seconds = range(-_BEFORE_S, outage.seconds + _AFTER_S)
    marks = {0: "▼", outage.seconds: "▲"}
    columns = ("▼ begin  ▲ end", "", *(f"{marks.get(second, '')}{second}" for second in seconds))
    rows = [
        (policy, session, *(str(answers.get(second, "")) for second in seconds))
        for (policy, session), answers in outage.answers.items()
    ]
    return Table(outage.name, columns, rows)


def _promises(outages: Sequence[Outage]) -> list[Promise]:
    cut = outages[0]
    silent_yes = sum(len(outage.given(_ENDED, _YES, but_by="offline")) for outage in outages)
    thrown_out = sum(len(outage.given(_LIVING, _ENDED_SESSION)) for outage in outages)
    late = [second + 0.5 for second in cut.given(_ENDING, _YES, by="feed")]
    newcomers = [
        answer
        for outage in outages
        for (policy, _), answers in outage.answers.items()
        for second, answer in answers.items()
        if policy.startswith("new") and second < outage.seconds
    ]
    by_live = [second for second in cut.given(_ENDING, _YES, by="live") if second >= _SIGN_OUT_AT_S]
    return [
        Promise("b accepted by a policy that checks revocation", f"{silent_yes} times", "never", silent_yes == 0),
        Promise("a refused as ended, by any verifier", f"{thrown_out} times", "never", thrown_out == 0),
        Promise("c let in by feed, after the begin", f"{max(late):g} s", f"≤ {_STALENESS_S} s", max(late) <= _STALENESS_S),
        Promise("c let in by live, after the sign-out", f"{len(by_live)} times", "never", not by_live),
        Promise(
            "verifiers that start meanwhile cannot tell",
            f"{newcomers.count(_CANNOT_TELL)} of {len(newcomers)} answers",
            "all",
            set(newcomers) == {_CANNOT_TELL},
        ),
    ]


if __name__ == "__main__":
    typer.run(main)

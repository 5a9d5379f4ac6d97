"""What use cases need of the services with which people sign in. `handstamp.relying_party` implements it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from ...domain.provider import ProviderIdentity, ProviderLogout, ProviderRequest, ProviderSettings, ProviderTokens

Prompt = Literal["", "none", "login", "consent", "select_account"]
"""What a provider is asked to show (OpenID Connect Core §3.1.2.1); "" leaves it to the provider."""


class Begun(NamedTuple):
    """A sign-in that has begun: where the browser goes, and what must be kept until it comes back."""

    url: str
    request: ProviderRequest


class Provider(Protocol):
    """One service with which people sign in.

    Each method but `begin` sends requests, and takes 10 seconds at most. None blocks the event loop.
    """

    @property
    def settings(self) -> ProviderSettings:
        """What the operator says about it."""

    @property
    def posts_answer(self) -> bool:
        """True if its answer comes as a form of its page (`response_mode=form_post`), so without `SameSite=Lax` cookies."""

    async def begin(
        self, state: str, *, redirect_uri: str, prompt: Prompt = "", login_hint: str = "", max_age_s: int | None = None
    ) -> Begun:
        """Return the URL to which the browser goes, and what must be kept until it comes back.

        Args:
            state: What the answer repeats: a text that cannot be guessed, of A-Z, a-z, 0-9, - and _.
            redirect_uri: Where the answer is expected. It contains the name of the provider, and of no other.
            prompt: What the provider is asked to show.
            login_hint: The address that the person is expected to use there, "" for none.
            max_age_s: The greatest age of the person's sign-in there, in seconds. None for any.

        Raises:
            ProviderUnavailable: If the provider does not describe itself as it should.
        """

    async def finish(self, request: ProviderRequest, answer: Mapping[str, str], *, now_ms: int) -> ProviderIdentity:
        """Return who has signed in. The provider accepts the code of an answer once, so this cannot be repeated.

        Args:
            request: What `begin` has returned.
            answer: The fields with which the browser came back, of the query or of the form.
            now_ms: Milliseconds since 1970.

        Raises:
            InvalidProviderAnswer: If it is an answer to another request or of another provider, or if it is not true.
            ProviderRefused: If the provider or the person has refused.
            ProviderUnavailable: If the provider does not answer in time, or not as it should.
        """

    async def renew(self, tokens: ProviderTokens, *, now_ms: int) -> ProviderTokens:
        """Return new tokens for the application. The old refresh token may be void then.

        Raises:
            ProviderRefused: If the provider does not accept the refresh token any more, or there is none.
            ProviderUnavailable: If the provider does not answer in time, or not as it should.
        """

    async def read_logout(self, token: str, *, now_ms: int) -> ProviderLogout:
        """Return what a logout token says. That the token was not seen before is for the caller to check.

        Raises:
            InvalidToken: If it is not a valid logout token of this provider for this service.
            ProviderUnavailable: If the keys of the provider cannot be fetched.
        """

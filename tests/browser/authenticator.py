"""Chromium's virtual authenticator, driven through the DevTools protocol (domain WebAuthn), and a record of what pages signal."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

_RECORD = """
for (const name of ["signalAllAcceptedCredentials", "signalCurrentUserDetails", "signalUnknownCredential"]) {
  const original = PublicKeyCredential[name].bind(PublicKeyCredential);
  PublicKeyCredential[name] = async (options) => {
    await noteSignal({ name, options }); // first: who sees what the signal did can rely on its record
    await original(options);
  };
}
"""


class Authenticator:
    """An authenticator that is part of the device, or a key with `is_platform=False`. It answers by itself, as if touched."""

    def __init__(
        self,
        page: Page,
        *,
        verifies: bool = True,
        keeps: bool = True,
        is_platform: bool = True,
        is_backed_up: bool = True,
        answers: bool = True,
    ) -> None:
        """Add it to the browser of a page.

        Args:
            page: The page that can use it.
            verifies: True to verify the user (by finger, face or PIN), False if only touches are noticed.
            keeps: True to keep passkeys, False for a key that only knows those that a service names.
            is_platform: True for one in the device, False for a security key.
            is_backed_up: True for passkeys that are synchronised with other devices.
            answers: False if nobody touches it.
        """
        self._session = page.context.new_cdp_session(page)
        self._session.send("WebAuthn.enable")
        made = self._session.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "ctap2Version": "ctap2_1",
                    "transport": "internal" if is_platform else "usb",
                    "hasResidentKey": keeps,
                    "hasUserVerification": verifies,
                    "isUserVerified": verifies,
                    "automaticPresenceSimulation": answers,
                    "defaultBackupEligibility": is_backed_up,
                    "defaultBackupState": is_backed_up,
                }
            },
        )
        self.id: str = made["authenticatorId"]

    @property
    def credentials(self) -> list[dict[str, Any]]:
        """The passkeys that it keeps now."""
        found: list[dict[str, Any]] = self._session.send("WebAuthn.getCredentials", {"authenticatorId": self.id})["credentials"]
        return found

    def move_to(self, other: Authenticator) -> None:
        """Give the passkeys to another authenticator, which need not be able to keep them itself, and remove this one."""
        for each in self.credentials:
            moved = {name: value for name, value in each.items() if name not in {"userName", "userDisplayName", "largeBlob"}}
            self._session.send(
                "WebAuthn.addCredential",
                {"authenticatorId": other.id, "credential": moved | {"isResidentCredential": False}},
            )
        self.remove()

    def remove(self) -> None:
        """Take it away from the browser."""
        self._session.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self.id})

    def forget(self) -> None:
        """Delete all passkeys, as a device that is lost does."""
        self._session.send("WebAuthn.clearCredentials", {"authenticatorId": self.id})


def record_signals(page: Page) -> list[dict[str, Any]]:
    """Return the list in which the signals of a page are recorded. The browser still gets them."""
    noted: list[dict[str, Any]] = []
    page.expose_function("noteSignal", lambda signal: noted.append(signal))  # noqa: PLW0108 - it must take attributes
    page.add_init_script(_RECORD)
    return noted

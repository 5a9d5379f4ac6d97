"""What an X.509 certificate says of itself."""

from __future__ import annotations

from typing import NamedTuple

from cryptography import x509


class CertificateFacts(NamedTuple):
    """For whom a certificate is, and until when."""

    names: tuple[str, ...]
    """The host names; `*.` stands for one label."""
    ends_at_ms: int

    def is_for(self, host: str) -> bool:
        """Return whether it is for a host (RFC 9525 §6.3)."""
        return host in self.names or f"*.{host.partition('.')[2]}" in self.names


def read_certificate(chain: bytes) -> CertificateFacts:
    """Return the facts of the first certificate of a PEM file. Raises `ValueError` if there is none."""
    certificate = x509.load_pem_x509_certificate(chain)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names: list[str] = []
    else:
        names = found.get_values_for_type(x509.DNSName) + list(map(str, found.get_values_for_type(x509.IPAddress)))
    return CertificateFacts(tuple(names), int(certificate.not_valid_after_utc.timestamp() * 1000))

"""What can be wrong beside the service, and what mends it."""

from __future__ import annotations

from .finding import Rule

RULES: dict[str, Rule] = {
    "settings": Rule("error", "{problem}", "Correct this setting: the service does not start with it."),
    "versions": Rule(
        "error", "{name} {found} is installed, and Handstamp needs {wanted}.", "pip install --upgrade 'handstamp[server]'"
    ),
    "no_database": Rule(
        "warning", "There is no database at {database} yet.", "It is made by the first start of: handstamp serve"
    ),
    "database": Rule("error", "{problem}", "Check HANDSTAMP_DATABASE, and that this user may read and write there."),
    "schema_behind": Rule("error", "The database has the schema of an older version.", "Run: handstamp migrate"),
    "disk_low": Rule(
        "error", "The disk of {path} has {free} MiB left: without room nobody is signed in.", "Make room, or move the database."
    ),
    "readable": Rule("warning", "Every user of this machine can read {file}.", "chmod o-r {file}"),
    "secret": Rule("error", "{problem}", "Without the secret no session and no key can be read. See docs/how-to/deploy.md."),
    "clock_off": Rule("error", "This machine's clock is {seconds} s {direction} the database's.", "Let NTP set both clocks."),
    "part": Rule("error", "{part}: {state}.", "See docs/how-to/runbook.md."),
    "tls": Rule(
        "error",
        "The certificate {file} cannot be used with its key: {problem}.",
        "Set HANDSTAMP_TLS_CERT and HANDSTAMP_TLS_KEY to the two files of one certificate.",
    ),
    "tls_ends": Rule(
        "error", "The certificate {file} ended {days} days ago.", "Renew it. The service reads the files again by itself."
    ),
    "tls_ends_soon": Rule("warning", "The certificate {file} ends in {days} days.", "Check what renews it."),
    "tls_name": Rule(
        "error",
        "The certificate {file} is for {names}, and not for {host}.",
        "Use the certificate of the host in HANDSTAMP_ISSUER.",
    ),
    "no_issuer": Rule(
        "warning",
        "HANDSTAMP_ISSUER is not set: the service works on this machine only.",
        "Set it to the public URL, as https://auth.example.com.",
    ),
    "proxies_unset": Rule(
        "warning",
        "TLS ends in front of the service, and no proxy is trusted: all people count as one network and share its limits.",
        "Set HANDSTAMP_TRUSTED_PROXIES to the proxy's address, as 127.0.0.1.",
    ),
    "mail": Rule("error", "The mail server {server} cannot be used, step {stage}: {problem}.", "{remedy}"),
    "no_mail": Rule(
        "warning",
        "No mail server is set: nobody can get a new password by mail, and nobody is warned.",
        "Set HANDSTAMP_SMTP_URL and HANDSTAMP_MAIL_FROM.",
    ),
}

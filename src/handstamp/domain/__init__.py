"""The rules, as pure functions over values: no I/O, no clock, no randomness, no framework.

Reading order: `policy`, `session`, `claims`, `rotation`; then `account`, `throttle`, `keyring`, `event`.
"""

"""The house's own storage SCP: what scanners and archives push lands in the inbox, and is safe when acknowledged."""

from __future__ import annotations

from collections.abc import Iterable

from medgan.digest import SUBJECT_DIGITS, keyed
from medgan.errors import UsageError
from medgan.home import Home
from medgan.sources.reception import Reception
from medgan.stages.places import connections
from medgan.store import writable


def open_reception(
    home: Home, *, allowed: Iterable[str], port: int, host: str, ae_title: str, tls: bool, rate: float = 0.0
) -> Reception:
    """A reception that is not started yet. `allowed`: AE titles that may send here; `rate`: most
    images a second from one of them, 0 for no limit.

    With `tls`, identified/connections.json has the certificate, under HOST:PORT of this house. Raises UsageError.
    """
    key = home.pseudonym_key
    secure = connections(home).get(f"{host}:{port}")
    if tls and (secure is None or not secure.cert):
        raise UsageError(f'--tls needs "cert", "key" and "ca" in identified/connections.json, under "{host}:{port}"')
    with writable():
        home.inbox.mkdir(mode=0o700, exist_ok=True)
    return Reception(
        home.inbox,
        ae_title=ae_title,
        port=port,
        host=host,
        allowed=frozenset(allowed),
        sender_of=lambda title: keyed(key, "sender", title)[:SUBJECT_DIGITS],
        tls=secure if tls else None,
        max_per_second=rate,
        room=home.has_room,
    )

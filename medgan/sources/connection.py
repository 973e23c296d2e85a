"""What a private file says of one archive host: credentials, certificates, and how it is to be called."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from medgan.errors import UsageError

FILE = "identified/connections.json"  # where users find it, for messages
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/@:\[\]]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Connection:
    """One host. `ca`, `cert`, `key` are paths of PEM files; `listen` is the port of C-MOVE. "" means: none."""

    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    cert: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    calling: str = "MEDGAN"
    retrieve: str = "get"
    listen: int = 11112


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {  # for the fields that are more than some text
    "calling": (lambda value: bool(re.fullmatch(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?", value)), "an AE title"),
    "retrieve": (lambda value: value in ("get", "move"), '"get" or "move"'),
    "listen": (lambda value: 0 < value < 65536, "a port between 1 and 65535"),
}


def read_connections(data: bytes) -> dict[str, Connection]:
    """Parse {"host:port": {field: value}}. Raises UsageError, which names the field and never quotes a value."""
    try:
        hosts = json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError(f"{FILE} is no JSON; mend it") from None
    if not isinstance(hosts, dict) or not all(HOST.fullmatch(host) for host in hosts):
        raise UsageError(f'{FILE} must be an object whose names are "host:port"')
    return {host: _connection(entry) for host, entry in hosts.items()}


def _connection(entry: Any) -> Connection:
    if not isinstance(entry, dict):
        raise UsageError(f'{FILE}: each "host:port" must hold an object of fields')
    known = {each.name: type(each.default) for each in fields(Connection)}
    for name, value in entry.items():
        if name not in known:  # a name may be a secret in the wrong place, so it is not quoted
            raise UsageError(f"{FILE} has an unknown field; known are {', '.join(known)}")
        if type(value) is not known[name]:
            raise UsageError(f"{FILE}: the field {name} must be {'a number' if known[name] is int else 'text'}")
        fits, expected = CHECKS.get(name, (_is_plain, "one line of text"))
        if not fits(value):
            raise UsageError(f"{FILE}: the field {name} must be {expected}")
    _check_pairs(Connection(**entry))
    return Connection(**entry)


def _check_pairs(one: Connection) -> None:
    if one.token and (one.user or one.password):
        raise UsageError(f"{FILE}: the field token and the fields user, password exclude each other")
    if one.password and not one.user:
        raise UsageError(f"{FILE}: the field user is missing beside password")
    if one.key and not one.cert:
        raise UsageError(f"{FILE}: the field cert is missing beside key")


def _is_plain(text: str) -> bool:
    """No line breaks or other control characters: they would end a header."""
    return text.isprintable()

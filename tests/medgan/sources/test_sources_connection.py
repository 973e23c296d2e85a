"""What connections.json may say, and that it never shows in what is said about it."""

import json

import pytest

from medgan.errors import UsageError
from medgan.sources.connection import Connection, read_connections


def test_fields_that_are_left_out_have_their_usual_values() -> None:
    hosts = read_connections(b'{"pacs.example:8443": {"token": "t0p"}, "[::1]:104": {}}')
    assert hosts == {"pacs.example:8443": Connection(token="t0p"), "[::1]:104": Connection()}
    assert (Connection().calling, Connection().retrieve, Connection().listen) == ("MEDGAN", "get", 11112)


def test_secrets_are_not_shown() -> None:
    shown = repr(Connection(token="t0p", user="jane", password="s3cret", ca="/ca", cert="/cert", key="/key"))
    assert not [secret for secret in ("t0p", "jane", "s3cret", "/ca", "/cert", "/key") if secret in shown]


BAD = [
    (b"{", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b"[]", "must be an object"),
    (b'{"no port": {}}', "must be an object"),
    (b'{"h:1": "s3cret"}', "must hold an object"),
    (b'{"h:1": {"s3cret": 1}}', "unknown field"),
    (b'{"h:1": {"token": 5}}', "field token must be text"),
    (b'{"h:1": {"listen": "s3cret"}}', "field listen must be a number"),
    (b'{"h:1": {"listen": true}}', "field listen must be a number"),
    (b'{"h:1": {"listen": 70000}}', "field listen must be a port"),
    (b'{"h:1": {"retrieve": "s3cret"}}', "field retrieve must be"),
    (b'{"h:1": {"calling": "much too long s3cret"}}', "field calling must be an AE title"),
    (json.dumps({"h:1": {"token": "s3cret\r\nX: y"}}).encode(), "field token must be one line"),
    (b'{"h:1": {"token": "s3cret", "user": "u"}}', "exclude each other"),
    (b'{"h:1": {"password": "s3cret"}}', "field user is missing"),
    (b'{"h:1": {"key": "s3cret"}}', "field cert is missing"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_mistake_is_named_by_its_field_and_never_quoted(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_connections(data)
    assert "s3cret" not in str(caught.value) and "h:1" not in str(caught.value)

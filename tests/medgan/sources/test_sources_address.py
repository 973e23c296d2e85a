"""One address, one kind of source; nothing is asked of a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from medgan.errors import UsageError
from medgan.sources.address import open_address
from medgan.sources.connection import Connection
from medgan.sources.dicomweb import Dicomweb
from medgan.sources.dimse import Dimse
from medgan.sources.inbox import Inbox


@pytest.mark.parametrize(
    ("address", "kind", "host"),
    [
        ("dicomweb+https://h/x", Dicomweb, "h:443"),
        ("dicomweb+http://127.0.0.1:8042/x", Dicomweb, "127.0.0.1:8042"),
        ("dicomweb+http://[::1]/x", Dicomweb, "[::1]:80"),
        ("dimse://AE@h", Dimse, "h:104"),
        ("inbox://", Inbox, ""),
    ],
)
def test_what_the_private_file_says_of_a_host_is_found_by_host_and_port(address, kind, host, tmp_path):
    connections = {host: Connection(user="u", calling="ME")}
    opened = open_address(address, connections, tmp_path)
    assert isinstance(opened, kind)
    if kind is Dicomweb:
        assert opened.web.connection is connections[host]
    if kind is Dimse:
        assert opened.peer.calling == "ME"


@pytest.mark.parametrize(
    "address", ["http://pacs7/x", "ftp://pacs7", "dicomweb://pacs7", "dicomweb+https://pacs7:99999/x"]
)
def test_an_address_of_no_kind_is_wrong_usage_and_is_not_quoted(address):
    with pytest.raises(UsageError) as caught:
        open_address(address, {}, Path())
    assert "pacs7" not in str(caught.value)


def test_labels_belong_to_files(tmp_path):
    with pytest.raises(UsageError, match="--labels"):
        open_address("dimse://AE@h", {}, tmp_path, labels=tmp_path / "labels.csv")

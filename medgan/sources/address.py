"""From an address to what can be taken in; nothing is asked of a network yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from medgan.errors import UsageError
from medgan.sources.connection import Connection
from medgan.sources.inbox import Inbox
from medgan.sources.server import Server
from medgan.sources.source import Source, open_source

INBOX = "inbox://"
KINDS = "a folder, a zip or tar archive, a file, dicomweb+https://HOST/PATH, dimse://AE@HOST:PORT or inbox://"


def open_address(
    address: str, connections: Mapping[str, Connection], inbox: Path, *, labels: Path | None = None
) -> Source | Server | Inbox:
    """Open any address. `connections` are by host and port.

    Raises SourceError when a source is missing, UsageError when its address is wrong or of no known kind.
    """
    if "://" not in address:
        return open_source(address, labels=labels)
    if labels is not None:
        raise UsageError("--labels belongs to folders and archives of files, not to an archive behind a network")
    if address == INBOX:
        return Inbox(inbox)
    connection = connections.get(_host(address), Connection())
    if address.startswith(("dicomweb+http://", "dicomweb+https://")):
        from medgan.sources.dicomweb import open_dicomweb

        return open_dicomweb(address, connection)
    if address.startswith("dimse://"):
        from medgan.sources.dimse import open_dimse

        return open_dimse(address, connection)
    raise UsageError(f"this kind of address is not supported; expected {KINDS}")


def _host(address: str) -> str:
    """host:port of an address, with the port that its kind has where it names none."""
    parts = urlsplit(address)
    try:
        port = parts.port or {"dicomweb+http": 80, "dicomweb+https": 443}.get(parts.scheme, 104)
    except ValueError:
        raise UsageError("the port of the address is no number between 1 and 65535") from None
    host = parts.hostname or ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

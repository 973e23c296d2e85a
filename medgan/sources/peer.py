"""An archive that speaks DIMSE: how to reach it, and what it answers to a query."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from medgan.errors import SourceError
from medgan.sources.association import BROKEN, CONNECT_S, Bounds, Entity, bounded, cut_off

FIND = str(StudyRootQueryRetrieveInformationModelFind)
PENDING, OUT_OF_RESOURCES = (0xFF00, 0xFF01), 0xA700  # PS3.4 C.4.1.1.4
PERMANENT = 1  # PS3.8 9.3.4: a rejection that will be repeated
ANSWER_BYTES = 1 << 20  # of one answer to a query


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the archive listens, its AE title and ours."""

    title: str
    host: str
    port: int
    calling: str
    tls: ssl.SSLContext | None = None

    def associate(
        self, contexts: Sequence[PresentationContext], bounds: Bounds, *, roles: Sequence[Any] = (), on: Any = ()
    ) -> Association:
        """An established association for what the first context stands for. `on`: pairs of event and handler.

        Raises ConnectionError where another try may help, SourceError where it cannot.
        """
        try:
            association = Entity(self.calling).associate(
                self.host,
                self.port,
                list(contexts),
                ae_title=self.title,
                max_pdu=bounds.pdu_bytes,
                ext_neg=list(roles),
                tls_args=(self.tls, self.host) if self.tls else None,
                evt_handlers=[*bounded(bounds), *on],
            )
        except OSError:  # the name cannot be resolved
            raise ConnectionError("no such host") from None
        accepted = [context.abstract_syntax for context in association.accepted_contexts]
        if association.is_established and contexts[0].abstract_syntax in accepted:
            return association
        if accepted or association.rejected_contexts:
            release(association)
            raise SourceError("the archive does not offer C-FIND and what retrieve= in the address says, get or move")
        if association.is_rejected:
            answer = association.acceptor.primitive
            if answer is None or answer.result == PERMANENT:
                raise SourceError(
                    "the archive rejected our AE title or its own; register ours there, or give calling= in the address"
                )
        elif self.tls is not None:
            self._check_tls()
        raise ConnectionError("no association")

    def _check_tls(self) -> None:
        """Raises SourceError when it is TLS that stands between: pynetdicom does not tell."""
        assert self.tls is not None
        try:
            with (
                socket.create_connection((self.host, self.port), CONNECT_S) as plain,
                self.tls.wrap_socket(plain, server_hostname=self.host) as secured,
            ):
                secured.settimeout(1.0)
                with contextlib.suppress(TimeoutError):
                    secured.recv(1)  # TLS 1.3 refuses a client's certificate after the handshake
        except ssl.SSLError:
            raise SourceError("TLS with the archive failed; check ca, cert and key of the connection") from None
        except OSError:
            return


def query(peer: Peer) -> Association:
    """An association for queries. Raises ConnectionError, SourceError."""
    return peer.associate([build_context(FIND)], Bounds(lambda: ANSWER_BYTES))


def find(association: Association, level: str, keys: Mapping[str, str]) -> Iterator[Dataset]:
    """The answers to a C-FIND, none of whose values has been decoded yet.

    Raises SourceError when the archive refuses the query or limits the number of answers (there are archives
    that cut a list without saying so: give each of them a narrow address), ConnectionError when it breaks off.
    """
    wanted = identifier(level, keys)
    try:
        for status, answer in association.send_c_find(wanted, FIND):
            code = status.get("Status")
            if code is None:
                raise ConnectionError("the query broke off")
            if code in PENDING:
                if answer is None:
                    raise SourceError("the archive answered a query with something that cannot be read")
                yield answer
            elif code:
                raise SourceError(_refusal(code))
    except BROKEN as error:
        if isinstance(error, ConnectionError):
            raise
        raise ConnectionError("the query broke off") from None


def release(association: Association) -> None:
    """End an association in good order where there still is one."""
    if association.is_established:
        association.release()
    else:
        cut_off([association])


def identifier(level: str, keys: Mapping[str, Any]) -> Dataset:
    """What a query or a retrieval asks for."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel = level
    if not all(str(value).isascii() for value in keys.values()):
        wanted.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(wanted, keyword, value)
    return wanted


def raw(answer: Dataset, tag: int) -> str:
    """A value as text of the default repertoire, without padding; "" where it is absent."""
    element = answer.get_item(tag) if tag in answer else None
    value = element.value if element is not None else None
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else str(value or "").strip()


def _refusal(code: int) -> str:
    if code == OUT_OF_RESOURCES:
        return (
            "the archive will not list so much at once (status 0xA700); narrow the address, for instance by StudyDate"
        )
    return f"the archive refused the query (status 0x{code:04X}); check the matching keys in the address"

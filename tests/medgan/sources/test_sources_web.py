"""Trusted connections, and what is said when there is none."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from faulty_archive import Archive, change, faulty_archive, status

from medgan.errors import SourceError
from medgan.sources.connection import Connection
from medgan.sources.dicomweb import Dicomweb, open_dicomweb
from medgan.sources.entry import Limits
from medgan.sources.web import Broken, Patience, Web


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """Paths of a certificate for 127.0.0.1, signed by itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    return str(folder / f"{name}.pem"), str(folder / f"{name}.key")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Over TLS; wants a certificate of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path, "server"))
    context.load_verify_locations(certificate(tmp_path, "client")[0])
    context.verify_mode = ssl.CERT_OPTIONAL
    with faulty_archive(context) as archive:
        archive.fill()
        yield archive


def count(archive: Archive, connection: Connection, landing: Path) -> int:
    landing.mkdir()
    return len(list(open_it(archive, connection).fetch("1.2.9", landing, Limits(), lambda _: False)))


def open_it(archive: Archive, connection: Connection) -> Dicomweb:
    return open_dicomweb(archive.address, connection, sleep=lambda _: None)


def test_a_certificate_that_the_ca_signed_is_trusted(archive: Archive, tmp_path: Path) -> None:
    ca, cert, key = (str(tmp_path / name) for name in ("server.pem", "client.pem", "client.key"))
    assert count(archive, Connection(ca=ca), tmp_path / "a") == 5
    assert count(archive, Connection(ca=ca, cert=cert, key=key), tmp_path / "b") == 5


def test_without_trust_nothing_is_sent(archive: Archive, tmp_path: Path) -> None:
    for connection in (Connection(), Connection(ca=str(tmp_path / "client.pem"))):
        with pytest.raises(SourceError, match="check the fields ca, cert and key") as caught:
            open_it(archive, connection).poll("", whole=True)
        assert "127.0.0.1" not in str(caught.value)
    assert not archive.asked


@pytest.mark.parametrize("field", ["ca", "cert", "key"])
def test_a_file_that_is_missing_or_none_is_said_by_its_field(field: str, archive: Archive, tmp_path: Path) -> None:
    good = {name: str(tmp_path / path) for name, path in (("ca", "server.pem"), ("cert", "client.pem"))}
    good["key"] = str(tmp_path / "client.key")
    with pytest.raises(SourceError, match=f"field {field} of"):
        open_it(archive, Connection(**{**good, field: str(tmp_path / "nowhere")}))
    (tmp_path / "broken").write_text("no certificate")
    with pytest.raises(SourceError, match="fields ca, cert") as caught:
        open_it(archive, Connection(**{**good, field: str(tmp_path / "broken")})).poll("", whole=True)
    assert str(tmp_path) not in str(caught.value)


def test_an_archive_that_is_not_there_stops_the_run_after_some_tries() -> None:
    with faulty_archive() as archive:
        address = archive.address
    slept: list[float] = []
    with pytest.raises(
        SourceError,
        match=r"nobody listens at its port.*run again",
    ):
        open_dicomweb(address, Connection(), sleep=slept.append, chance=lambda: 1.0).poll("", whole=True)
    assert slept == [1, 2, 4, 8]


def test_waits_are_spread_by_chance_and_start_anew_with_progress() -> None:
    slept: list[float] = []
    patience = Patience(slept.append, iter([0.0, 0.5, 1.0, 1.0]).__next__)
    patience.wait(Broken("x"))
    patience.wait(Broken("x"))
    patience.progress()
    patience.wait(Broken("x"))
    patience.wait(Broken("x", wait_s=1e9))
    assert slept == [0.5, 1.5, 1.0, 300.0]


def test_an_answer_of_json_over_the_cap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medgan.sources.web.MAX_JSON", 100)
    with faulty_archive() as archive:
        archive.fill()
        with pytest.raises(SourceError, match="over 256 MiB"):
            open_it(archive, Connection()).poll("", whole=True)


def test_a_busy_archive_is_asked_again_for_its_lists() -> None:
    with faulty_archive() as archive:
        archive.fill()
        archive.faults["studies"] = [status(503), change(send_at_most=10), status(429, Retry_After="0")]
        assert len(open_it(archive, Connection()).poll("", whole=True).holdings) == 1


def test_the_servers_clock_is_read(tmp_path: Path) -> None:
    with faulty_archive() as archive:
        web = Web(Connection())
        web.get(f"http://127.0.0.1:{archive.port}/dicom-web/studies", accept="*/*").close()
        assert web.date is not None
        assert abs((datetime.datetime.now(datetime.UTC) - web.date).total_seconds()) < 300
        web.close()

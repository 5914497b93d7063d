"""TLS in front of a plain S3 server, with certificates that are made for one test."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Certificates:
    """PEM files: what the server shows with its key, and what a client must trust."""

    chain: Path
    key: Path
    trusted: Path

    @classmethod
    def self_signed(
        cls, folder: Path, *, days: float = 90, name: str = "127.0.0.1", is_authority: bool = False
    ) -> Self:
        """A server's certificate that nobody else signed; valid for so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, None, key, days, is_authority=is_authority)
        return cls._written(folder, certificate, key, certificate)

    @classmethod
    def signed_by_authority(cls, folder: Path) -> Self:
        """A server's certificate for 127.0.0.1 that an authority of our own signed."""
        authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        authority = _certificate("authority.example", authority_key, None, authority_key, 90, is_authority=True)
        certificate = _certificate("127.0.0.1", key, authority, authority_key, 90, is_authority=False)
        return cls._written(folder, certificate, key, authority)

    @classmethod
    def _written(
        cls, folder: Path, shown: x509.Certificate, key: ec.EllipticCurvePrivateKey, trusted: x509.Certificate
    ) -> Self:
        folder.mkdir()
        files = cls(folder / "chain.pem", folder / "key.pem", folder / "trusted.pem")
        pem = serialization.Encoding.PEM
        files.chain.write_bytes(shown.public_bytes(pem))
        files.trusted.write_bytes(trusted.public_bytes(pem))
        files.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return files


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    days: float,
    *,
    is_authority: bool,
) -> x509.Certificate:
    subject = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name} {key.public_key().public_numbers().x}"[:60])]
    )
    now = dt.datetime.now(dt.UTC)
    begin = now - dt.timedelta(days=30)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


@contextmanager
def tls_front(certificates: Certificates, plain_endpoint: str) -> Iterator[str]:
    """Passes decrypted bytes on to the plain server; yields the https endpoint."""
    plain = urlsplit(plain_endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)

    class Front(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),  # the client does not trust us, or went away
                context.wrap_socket(self.request, server_side=True) as secured,
                socket.create_connection((plain.hostname, plain.port or 80)) as behind,
            ):
                back = threading.Thread(target=_pump, args=(behind, secured))
                back.start()
                _pump(secured, behind)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Front) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Until the source ends; then the sink is told."""
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)

"""The server's self-signed certificate.

templater makes the certificate once, and stores it with its key in a private file.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..distribution.downloads import private_directory
from ..distribution.remotes import own_file
from ..image.atomic_output import Output
from ..model.errors import InputError, WriteError, reason
from ..model.unprintable_characters import printable

_VALID = timedelta(days=3650)


def context(certificate: str, key: str) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and 1.3. Raises InputError if a file can't be read."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    load(made, certificate, key)
    return made


def load(into: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load the certificate and its key into a TLS context. Raises InputError if a file can't be read."""
    try:
        into.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        words = reason(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"can't use the certificate '{printable(certificate)}': {words}") from None


def _no_password() -> str:
    raise ValueError("the key has a password")


def first_certificate(path: str) -> tuple[str, str]:
    """Return the first certificate of a file as PEM text, and its SHA-256 fingerprint."""
    with open(path, "rb") as file:
        found = x509.load_pem_x509_certificates(file.read())[0]
    return found.public_bytes(serialization.Encoding.PEM).decode(), found.fingerprint(hashes.SHA256()).hex()


def own_certificate(host: str) -> str:
    """Return the path of a file that contains both a certificate for ``host`` and its key.

    Create the file if it is missing, or if its certificate expires within a day. Then also create a ``.crt``
    file for clients, which has only the certificate.
    """
    folder = os.path.join(os.path.dirname(own_file()), "serve")
    private_directory(folder)
    path = os.path.join(folder, f"{host.replace(':', '_')}.pem")
    try:
        if os.path.exists(path) and _expires(path) > datetime.now(UTC) + timedelta(days=1):
            return path
        certificate, key = _make(host)
        for name, content, private in (
            (path, certificate + key, True),
            (public_part(path), certificate, False),
        ):
            with Output(folder, private=private) as output:
                output.write(content)
                output.publish(name, replace=True)
    except OSError as error:
        raise WriteError(f"can't write '{printable(path)}': {reason(error)}") from error
    return path


def public_part(path: str) -> str:
    return path.removesuffix(".pem") + ".crt"


def _expires(path: str) -> datetime:
    try:
        with open(path, "rb") as file:
            return x509.load_pem_x509_certificates(file.read())[0].not_valid_after_utc
    except ValueError:
        raise InputError(
            f"'{printable(path)}' has no valid certificate",
            hint="delete the file: the next start of the server makes a new one",
        ) from None


def _make(host: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "templater serve")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        # Clients trust the certificate as an authority. With path_length=0, it can't sign other authorities.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _names(host: str) -> list[x509.GeneralName]:
    hosts = dict.fromkeys((host, "localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()))
    names: list[x509.GeneralName] = []
    for each in hosts:
        try:
            address = ipaddress.ip_address(each)
        except ValueError:
            if each.isascii() and all(part and len(part) < 64 for part in each.split(".")):
                names.append(x509.DNSName(each))
        else:
            if not address.is_unspecified:
                names.append(x509.IPAddress(address))
    return names

"""TLS contexts with the certificates that a server and a client need."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from ..model.errors import InputError, reason
from ..model.unprintable_characters import printable


@dataclass(frozen=True, slots=True)
class Trust:
    """Paths of certificates: the server's certificate, and the client's certificate with its key.

    If ``server`` is "", templater trusts the system's certificates, or the certificates in SSL_CERT_FILE.
    """

    server: str = ""
    client: tuple[str, str] | None = None

    def context(self) -> ssl.SSLContext:
        """Return a TLS context. Raises InputError if a file can't be read."""
        context = ssl.create_default_context()
        try:
            if self.server:
                # A daemon's certificate contains no host name, so templater compares the whole certificate.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                context.load_verify_locations(self.server)
            # with a server's Diffie-Hellman parameters, each connection could need a second of processor time
            context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
            if self.client is not None:
                context.load_cert_chain(*self.client)
        except OSError as error:
            name = self.server or (self.client or ("",))[0]
            raise InputError(f"can't read the certificate '{printable(name)}': {reason(error)}") from None
        return context

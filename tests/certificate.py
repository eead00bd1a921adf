"""A certificate for tests, made by the program ``openssl``."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from .tools import require_tool

__all__ = ["Certificate", "make_certificate"]


class Certificate(NamedTuple):
    """A certificate that signs itself, for loopback names and addresses."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Context for a server that has this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Context for a client that trusts this certificate alone."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make_certificate(folder: Path) -> Certificate:
    """Make a certificate in a folder."""
    openssl = require_tool("openssl", apt="openssl")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    command = [
        *(openssl, "req", "-x509", "-nodes", "-days", "2"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"),
        *("-keyout", str(made.key), "-out", str(made.certificate)),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made

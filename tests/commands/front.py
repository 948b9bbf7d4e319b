"""A proxy with TLS in front of a server, as Caddy or nginx would be; each of its faults can be switched on."""

import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import gevent
import pytest
from gevent.server import StreamServer


def certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate and key for localhost."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=60)
    return folder / "certificate.pem", folder / "key.pem"


@dataclass
class Front:
    """`start`, then `leads_to` a server; `fault` is one of those in `_altered`."""

    certificate: Path
    key: Path
    leads_to: str = ""
    fault: str = ""
    heads: list[bytes] = field(default_factory=list)

    def start(self) -> str:
        """Its address."""
        self._server = StreamServer(
            ("127.0.0.1", 0), self._serve, certfile=str(self.certificate), keyfile=str(self.key)
        )
        self._server.start()
        return f"https://localhost:{self._server.server_port}"

    def stop(self) -> None:
        self._server.stop(timeout=0)

    def _serve(self, client: socket.socket, _: object) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := client.recv(65536)):
                return
            head += data
        self.heads.append(head)
        sent = self._altered(head)
        if sent is None:
            client.sendall(self._answer())
            # What is left unread would reset the connection before the answer is read.
            while client.recv(65536):
                pass
            return
        target = urlsplit(self.leads_to)
        with socket.create_connection((target.hostname, target.port)) as server:
            server.sendall(sent)
            back = gevent.spawn(_pipe, server, client)
            _pipe(client, server)
            back.join()

    def _altered(self, head: bytes) -> bytes | None:
        """What the server gets of it; None: the proxy answers itself."""
        match self.fault:
            case "knows no upgrade" if b"upgrade: websocket" in head.lower():
                return re.sub(rb"(?im)^(upgrade|connection): .*\r\n", b"", head)
            case "changes the query":
                return head.replace(b"?stream=", b"?from=proxy&stream=", 1)
            case "answers itself":
                return None
            case "lets everybody in" if b"/twilio/voice" in head:
                return None
        return head

    def _answer(self) -> bytes:
        status = b"404 Not Found" if self.fault == "answers itself" else b"200 OK"
        return b"HTTP/1.1 %b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno" % status


def _pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass

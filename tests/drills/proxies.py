"""The proxies of deploy/: real programs and real files, in which only addresses and certificates are others."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any, Self

import gevent
import gevent.server
import requests

from tests.running import wait_until

HOST = "voice.example.com"
_DEPLOY = Path(__file__).parents[2] / "deploy"
_NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/proxy.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nginx-voice.conf;
}}
"""
_CADDY = "{{\n\tadmin 127.0.0.1:{admin}\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n}}\n"


class Proxy:
    """Use as a context manager. `name` is nginx or caddy; it listens on 127.0.0.1 with TLS, before `server`.

    `url` is plain HTTP for those who speak no TLS: what comes there goes to the proxy as it is, but encrypted.
    """

    def __init__(self, name: str, server: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._backend = server.removeprefix("http://")
        self.port, self._admin = _free_port(), _free_port()
        self.certificate = folder / "cert.pem"

    def __enter__(self) -> Self:
        _certify(self.certificate, self._folder / "key.pem")
        program = shutil.which(self._name)
        assert program is not None
        self._program = program
        arguments = self._nginx() if self._name == "nginx" else self._caddy()
        environment = os.environ | {"XDG_DATA_HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder)}
        with (self._folder / "proxy.out").open("wb") as out:
            self._process = subprocess.Popen([program, *arguments], stdout=out, stderr=out, env=environment)
        self._tls = ssl.create_default_context(cafile=str(self.certificate))
        self._tunnel = gevent.server.StreamServer(("127.0.0.1", 0), self._carry)
        self._tunnel.start()
        self.url = f"http://127.0.0.1:{self._tunnel.server_port}"
        try:
            wait_until(self._is_up, 15, f"{self._name} answers")
        except TimeoutError as error:
            self.__exit__()
            raise RuntimeError((self._folder / "proxy.out").read_text()) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._tunnel.stop()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def reload(self) -> None:
        """Read its file again, as after a change; returns when it was told to."""
        if self._name == "nginx":
            before = _children(self._process.pid)
            self._process.send_signal(signal.SIGHUP)
            wait_until(lambda: bool(_children(self._process.pid) - before), 10, "nginx has new workers")
            return
        command = [self._program, "reload", "--force", "--address", f"127.0.0.1:{self._admin}"]
        subprocess.run([*command, *self._caddy()[1:]], check=True, capture_output=True, timeout=20)

    def ask(self, head: str) -> bytes:
        """The whole answer to a request that is sent as it stands, and that asks to close the connection."""
        with self._connect() as sock:
            sock.sendall(head.encode())
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        return answer

    def _connect(self) -> ssl.SSLSocket:
        return self._tls.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=10), server_hostname=HOST
        )

    def _carry(self, plain: Any, _: object) -> None:
        with self._connect() as outer:
            outer.settimeout(None)
            ways = [gevent.spawn(_pass_on, plain, outer), gevent.spawn(_pass_on, outer, plain)]
            gevent.joinall(ways, count=1)
            gevent.killall(ways)

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self._folder / "proxy.out").read_text()
        try:
            return requests.get(f"{self.url}/healthz", headers={"Host": HOST}, timeout=5).ok
        except requests.RequestException:
            return False

    def _nginx(self) -> list[str]:
        text = _changed(
            (_DEPLOY / "nginx.conf").read_text(),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("127.0.0.1:8000", self._backend),
            (f"/etc/letsencrypt/live/{HOST}/fullchain.pem", str(self.certificate)),
            (f"/etc/letsencrypt/live/{HOST}/privkey.pem", str(self._folder / "key.pem")),
        )
        (self._folder / "nginx-voice.conf").write_text(text)
        # Its workers would become nobody, who may not write where tests may.
        user = "user root;" if os.geteuid() == 0 else ""
        (self._folder / "nginx.conf").write_text(_NGINX.format(folder=self._folder, user=user))
        return ["-p", str(self._folder), "-e", str(self._folder / "proxy.log"), "-c", str(self._folder / "nginx.conf")]

    def _caddy(self) -> list[str]:
        certified = f"https://{HOST}:{self.port} {{\n\ttls {self.certificate} {self._folder / 'key.pem'}\n"
        text = _changed(
            (_DEPLOY / "Caddyfile").read_text(), (f"{HOST} {{\n", certified), ("127.0.0.1:8000", self._backend)
        )
        (self._folder / "Caddyfile").write_text(_CADDY.format(admin=self._admin) + text)
        return ["run", "--config", str(self._folder / "Caddyfile"), "--adapter", "caddyfile"]


def _pass_on(source: Any, target: Any) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        pass


def _changed(text: str, *changes: tuple[str, str]) -> str:
    for before, after in changes:
        assert before in text, f"the file has no {before!r} any more"
        text = text.replace(before, after)
    return text


def _certify(certificate: Path, key: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split()
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=30)


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

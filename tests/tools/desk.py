"""An agent for the tools' tests, and a server on 127.0.0.1 that notes what it gets and answers what a test says."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from config.agents import Agent
from config.tools import TOOLS, Digits, Target, Transfer, WebhookTool
from tests.wires.peers import read_request, tcp_server

CALL = "CA0123456789abcdef0123456789abcdef"
CALLER = "+15557654321"
DESK = Agent(
    "desk",
    "Hello.",
    "Be kind.",
    "abc123",
    tools=TOOLS,
    transfer=Transfer(
        to={"desk": Target("+15551234567", "the front desk", warm=True), "nurse": Target("+15551234568", "the nurse")}
    ),
    digits={"pin": Digits("the caller's PIN", 4, sensitive=True), "room": Digits("the number of the room")},
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "day": {"type": "string"},
        "pin": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "required": ["id"],
}


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Host:
    """The operator's server: one connection for each request."""

    reply: bytes = answer(b'{"found": true}')
    port: int = 0
    seen: list[bytes] = field(default_factory=list)
    """The requests as they came, head and body."""

    def serve(self, connection: socket.socket) -> None:
        self.seen.append(read_request(connection))
        connection.sendall(self.reply)

    def tool(self, **changes: Any) -> WebhookTool:
        tool = WebhookTool("Finds an appointment.", f"http://127.0.0.1:{self.port}/v1/find", parameters=SCHEMA)
        return replace(tool, **changes)

    @property
    def head(self) -> list[str]:
        """The lines of the only request's head."""
        (only,) = self.seen
        return only.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")

    @property
    def body(self) -> bytes:
        (only,) = self.seen
        return only.partition(b"\r\n\r\n")[2]


@contextmanager
def serving(host: Host) -> Iterator[Host]:
    with tcp_server(host.serve) as host.port:
        yield host

"""Where an agent's webhooks may lead: what the name server says decides, once, and not what it says later."""

import socket
from typing import Any

import gevent
import pytest

from tests.tools.desk import answer
from tests.wires.peers import read_request, tcp_server
from voice import outgoing
from voice.errors import VendorUnavailable
from voice.records import outbox
from voice.records.outbox import Destination
from voice.tools.exchange import Exchange, Request

pytestmark = pytest.mark.threat(9)

PUBLIC = ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")
PRIVATE = (
    *("10.0.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "198.18.0.1", "127.0.0.1", "127.8.8.8"),
    *("::1", "fc00::1", "fec0::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1"),
)
NEVER = (
    *("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "::ffff:169.254.169.254"),
    *("64:ff9b::a9fe:a9fe", "0.0.0.0", "255.255.255.255", "240.0.0.1", "224.0.0.1", "fe80::1%eth0", "ff02::1", "::"),
    *("2002:a00:1::1", "2002:7f00:1::1", "2001::1", "::10.0.0.1"),
)


@pytest.mark.parametrize("address", [*PUBLIC, *PRIVATE, *NEVER])
def test_which_addresses_may_be_called(address: str) -> None:
    assert outgoing.is_allowed(address, private=False) is (address in PUBLIC)
    assert outgoing.is_allowed(address, private=True) is (address not in NEVER)


class Names:
    """A name server that has one answer after the other; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in found]


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Names:
    names = Names(*answers)
    monkeypatch.setattr(gevent.get_hub(), "resolver", names)
    return names


def run(url: str, private: bool = False) -> int:
    return Exchange(Request("GET", url, {}), 2.0, private).run().status


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_name_that_leads_to_us_is_not_called_unless_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    names(monkeypatch, [address])
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(read_request(connection))
        connection.sendall(answer(b"secrets"))

    with tcp_server(serve) as port:
        with pytest.raises(VendorUnavailable, match="an address that may not be called"):
            run(f"http://crm.example:{port}/")
        assert got == []
        if "." in address and ":" not in address:
            assert run(f"http://crm.example:{port}/", private=True) == 200


def test_a_clouds_metadata_is_called_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["169.254.169.254"])
    with pytest.raises(VendorUnavailable, match="an address that may not be called"):
        run("http://crm.example/latest/meta-data/", private=True)


def test_of_several_addresses_only_the_allowed_ones_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["169.254.169.254", "127.0.0.1"])
    with tcp_server(lambda connection: connection.sendall(answer(b"")) if read_request(connection) else None) as port:
        assert run(f"http://crm.example:{port}/", private=True) == 200


def test_the_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look-up is where a rebound name would give another address than the one that was looked at."""
    asked = names(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    with tcp_server(lambda connection: connection.sendall(answer(b"")) if read_request(connection) else None) as port:
        assert run(f"http://crm.example:{port}/", private=True) == 200
    assert asked.asked == 1


def test_our_own_machine_is_called_by_its_own_names_only() -> None:
    with tcp_server(lambda connection: connection.sendall(answer(b"")) if read_request(connection) else None) as port:
        for host in ("127.0.0.1", "localhost"):
            assert run(f"http://{host}:{port}/") == 200
        with pytest.raises(VendorUnavailable, match="an address that may not be called"):
            run(f"http://127.0.0.2:{port}/")


def test_the_webhook_after_a_call_is_held_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["10.0.0.1"])
    delivery = outbox.Delivery("id", "CA1", "desk", "{}", 0.0, 1)
    with pytest.raises(outgoing.AddressRefused):
        outbox._post(Destination("https://crm.example/calls", "secret"), delivery, 0, 2.0)

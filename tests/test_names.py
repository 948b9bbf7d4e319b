"""Names while no name server answers. Behind is a resolver of the test: the machine's own cannot be made to fail."""

import socket
from typing import Any

import gevent
import pytest

from voice.names import Names

ADDRESS = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 443))]


class Server:
    """Answers, fails with `error`, or says nothing when that is None and `silent`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.silent = False
        self.asked = 0

    def getaddrinfo(self, *asked: Any) -> Any:
        self.asked += 1
        if self.silent:
            gevent.sleep(30)
        if self.error:
            raise self.error
        return ADDRESS

    def gethostbyname(self, name: str) -> str:
        return f"address of {name}"


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_name_that_is_known_is_known_while_the_name_server_fails(server: Server) -> None:
    names = Names(server)
    assert names.getaddrinfo("vendor.test", 443) == ADDRESS
    server.error = socket.gaierror(12, "ARES_ETIMEOUT")
    assert names.getaddrinfo("vendor.test", 443) == ADDRESS
    with pytest.raises(socket.gaierror, match="ARES_ETIMEOUT"):
        names.getaddrinfo("other.test", 443)


def test_a_name_server_that_says_nothing_is_waited_for_once(server: Server) -> None:
    names = Names(server)
    names.getaddrinfo("vendor.test", 443)
    server.silent = True
    with gevent.Timeout(5):
        assert names.getaddrinfo("vendor.test", 443) == ADDRESS
        asked = server.asked
        assert names.getaddrinfo("vendor.test", 443) == ADDRESS
    assert server.asked == asked


def test_a_name_that_is_no_more_is_not_what_it_was(server: Server) -> None:
    names = Names(server)
    names.getaddrinfo("vendor.test", 443)
    server.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(socket.gaierror):
        names.getaddrinfo("vendor.test", 443)


def test_whoever_gives_up_waiting_for_a_name_that_is_not_known_may(server: Server) -> None:
    server.silent = True
    with gevent.Timeout(0.01, False):
        Names(server).getaddrinfo("vendor.test", 443)
        pytest.fail("it has been answered")


def test_all_else_is_the_resolvers(server: Server) -> None:
    assert Names(server).gethostbyname("vendor.test") == "address of vendor.test"

"""What load balancers ask: in the process for the numbers, at the server for the door."""

from collections.abc import Iterator

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from tests.web.served import Served
from voice import registry
from voice.web.health import health_doors


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    assert registry.live_calls() == 0
    app = Flask(__name__)
    app.register_blueprint(health_doors(2, lambda: False))
    yield app.test_client()
    for connection in registry.connections():
        registry.disconnect(connection, over=False)


def test_ready_until_the_last_line_is_taken_and_again_when_one_is_free(client: FlaskClient) -> None:
    assert (client.get("/readyz").status_code, client.get("/readyz").json) == (200, {"status": "ok"})
    first = registry.connect()
    assert client.get("/readyz").status_code == 200
    registry.connect()
    assert (client.get("/readyz").status_code, client.get("/readyz").json) == (503, {"status": "full"})
    registry.disconnect(first, over=False)
    assert client.get("/readyz").status_code == 200


def test_a_full_server_is_alive(client: FlaskClient) -> None:
    for _ in range(3):
        registry.connect()
    assert (client.get("/healthz").status_code, client.get("/healthz").json) == (200, {"status": "ok"})


@pytest.mark.threat(23)
def test_both_are_open_to_everybody_and_tell_nothing_else(served: Served) -> None:
    for path in ("/healthz", "/readyz"):
        answer = requests.get(served.url + path, timeout=5)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert requests.head(served.url + path, timeout=5).status_code == 200
        assert requests.post(served.url + path, timeout=5).status_code == 405

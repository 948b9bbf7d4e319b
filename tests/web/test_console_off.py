"""A server without API_TOKEN has no console."""

import pytest

from tests.console.test_guard import PAGES
from tests.console.visitor import Visitor
from tests.web.served import Served


@pytest.mark.threat(12)
def test_without_a_token_of_its_own_the_console_is_off(served: Served) -> None:
    for path in PAGES:
        visitor = Visitor(served.url)
        assert visitor.get(path).status_code == 401
        for token in ("", "None", "null"):
            answered = visitor.log_in(token)
            assert answered.status_code == 401 and "Set-Cookie" not in answered.headers
    assert "The console is off" in Visitor(served.url).get("/console").text

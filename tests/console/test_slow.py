"""Strangers who take their time. The last of these tests: by now it was long enough."""

import pytest

from tests.console.conftest import Site


@pytest.mark.threat(12)
def test_a_log_in_that_drips_holds_no_connection(site: Site) -> None:
    assert 4 < site.dripping.get(timeout=15) < 8

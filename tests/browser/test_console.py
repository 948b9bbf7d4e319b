"""The console in a real browser: what operators do, nothing that its console complains of, nothing serious for axe."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.chromium import MISSING, Browser
from tests.browser.microphone import write_microphone
from tests.console.conftest import AGENTS
from tests.console.past import XSS, sid, strange
from tests.console.visitor import TOKEN
from tests.running import Running, wait_until
from voice.records.records import Records
from voice.sandbox.demo_script import Answer, ToolCall
from voice.sandbox.stand_ins import Sandbox

ASKED = "What are your opening hours?"
SPOKEN = ((ASKED, 2.5), (ASKED, 3.5), ("Goodbye.", 3.0), ("Goodbye.", 4.0), ("Goodbye.", 5.0))
"""What the microphone hears, each after so many seconds of silence; more than once, for a machine that is too busy to
play it without a gap."""


def answer(messages: list[dict[str, Any]]) -> Answer:
    if "oodbye" in str(messages[-1]["content"]):
        return Answer("Goodbye then.", (ToolCall("hang_up", {}),))
    return Answer("From nine to six.")


@dataclass
class Desk:
    running: Running
    records: Records
    browser: Browser


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    if MISSING:
        # A skip alone is a letter in a row of dots.
        warnings.warn(f"the console was not tried in a browser: {' and '.join(MISSING)} not installed", stacklevel=1)
        pytest.skip(f"{' and '.join(MISSING)} not installed")
    folder = tmp_path_factory.mktemp("browser")
    microphone = write_microphone(folder / "microphone.wav", SPOKEN)
    running = Running(
        folder,
        API_TOKEN=TOKEN,
        AGENTS_DIR=str(AGENTS),
        DEFAULT_AGENT="desk",
        RECORDINGS_DIR=str(folder / "recordings"),
    )
    running.sandbox = Sandbox(speech="espeak")
    running.sandbox.xai.answer = answer
    options = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        "--autoplay-policy=no-user-gesture-required",
    )
    with running, Browser(running.server.url, *options) as browser:
        records = Records(f"sqlite:///{folder / 'voice.db'}", timeout_s=10)
        records.start()
        browser.resize(1280)
        yield Desk(running, records, browser)
        records.stop(5)
        assert "Traceback" not in running.log, running.log[-3000:]


def test_log_in(desk: Desk) -> None:
    browser = desk.browser
    browser.open("/console/calls")
    browser.find("#token").send_keys("wrong")
    browser.find("button.main").click()
    browser.wait_for("[role=alert]", "That is not the token.")
    assert browser.faults() == []
    browser.find("#token").send_keys(TOKEN)
    browser.find("button.main").click()
    browser.wait_for("h1", "Calls")
    assert browser.run("return document.cookie") == "", "no script sees the session"
    assert all("401" in error for error in browser.errors()), "but for the two refusals"


@pytest.mark.threat(13)
def test_a_live_call_within_a_second_hung_up_from_the_page(
    desk: Desk, record_property: Callable[[str, object], None]
) -> None:
    browser = desk.browser
    browser.open("/console")
    browser.wait_for("#nobody", "Nobody is calling.")
    # The number is whatever a stranger's telephone says it is.
    phone = desk.running.phone(from_number=XSS[1])
    phone.dial()
    phone.wait_until_stream()
    began = time.monotonic()
    browser.wait_for(".live-call .who", XSS[1])
    took = time.monotonic() - began
    record_property("call_in_browser_s", round(took, 2))
    assert took < 1.0
    browser.wait_for(".said", "how can I help you?")
    assert browser.faults() == []
    browser.resize(390)
    assert not browser.overflows()
    browser.resize(1280)

    browser.find(".live-call [data-do=hang-up]").click()
    browser.wait_for("dialog[open]", "ends at once")
    assert browser.faults() == []
    browser.find("dialog[open] button[value='']").click()
    browser.find(".live-call [data-do=hang-up]").click()
    browser.wait_for("dialog[open] button.bad").click()
    phone.wait_until_over()
    browser.wait_for("#nobody", "Nobody is calling.", 3)
    assert (browser.run("return document.title"), browser.errors()) == ("Live · Voice", [])


def test_a_call_is_hung_up_by_keyboard_alone(desk: Desk) -> None:
    browser = desk.browser
    browser.driver.delete_all_cookies()
    phone = desk.running.phone(from_number="+15550004711")
    phone.dial()
    browser.open("/console")
    browser.press(TOKEN, Keys.ENTER)
    browser.wait_for(".live-call .who", "+15550004711")
    tab_to(browser, "+15550004711")
    browser.press(Keys.ENTER)
    browser.wait_for("h1", "+15550004711 with desk")
    tab_to(browser, "Hang up")
    browser.run("window.before = true")
    phone.say_async("Hello")
    wait_until(lambda: not browser.run("return window.before"), 5, "a turn more, the page is another one")
    browser.wait_for("h1", "+15550004711 with desk")
    assert browser.focused() == ("Hang up", True), "whoever reads with the keyboard has lost his place"
    browser.press(Keys.ENTER)
    browser.wait_for("dialog[open]", "ends at once")
    assert browser.focused() == ("Cancel", True), "a key that is held down must not answer the question"
    tab_to(browser, "Hang up", back=True)
    browser.press(Keys.ENTER)
    phone.wait_until_over()
    wait_until(lambda: not browser.all("#acts"), 5, "the page is that of a call that is over")
    assert browser.run("return document.activeElement.id") == "main"
    assert all("401" in error for error in browser.errors()), "but for the page that asks for the token"


def tab_to(browser: Browser, words: str, back: bool = False) -> None:
    """All that the Tab key comes by on its way is seen to have the focus."""
    for _ in range(20):
        browser.tab(back)
        there, seen = browser.focused()
        assert seen, f"not seen to have the focus: {there}"
        if there == words:
            return
    raise AssertionError(f"the Tab key does not get to {words}")


@pytest.mark.threat(13)
def test_what_anybody_said_runs_nowhere(desk: Desk) -> None:
    for number, text in enumerate(XSS):
        strange(desk.records, sid(number), text)
    for path in ("/console/calls", *(f"/console/calls/{sid(number)}" for number in range(len(XSS)))):
        desk.browser.open(path)
        desk.browser.wait_for("h1")
        assert desk.browser.run("return document.title") != "cracked", path
        assert desk.browser.errors() == [], "not even refused by the policy: it is text"


def test_past_calls_are_found_and_one_is_looked_at(desk: Desk) -> None:
    browser = desk.browser
    strange(desk.records, sid(0xA1), "an unusual wish")
    browser.open("/console/calls")
    browser.find("[name=words]").send_keys("UNUSUAL")
    browser.find(".search button").click()
    browser.wait_for("tbody tr", "an unusual wish")
    assert len(browser.all("tbody tr")) == 1
    assert browser.faults() == []
    for width in (390, 1280):
        browser.resize(width)
        assert not browser.overflows()
    browser.find("tbody a").click()
    browser.wait_for(".waterfall", "final transcript")
    for width, dark in ((390, True), (1280, False)):
        browser.resize(width, dark)
        assert browser.faults() == [] and not browser.overflows()
    assert browser.errors() == []


def test_the_browser_phone_holds_a_whole_call(desk: Desk) -> None:
    browser = desk.browser
    browser.open("/console/phone")
    browser.resize(390)
    assert browser.faults() == [] and not browser.overflows()
    browser.resize(1280)
    browser.find("#dial").click()
    browser.wait_for("#state", "Connected")
    browser.wait_for("#talk .agent", "Hello, how can I help you?")
    wait_until(lambda: browser.run("return document.getElementById('theirs').value > 0"), 5, "the agent is heard")
    browser.wait_for("#talk .caller", ASKED, 15)
    browser.wait_for("#talk .agent", "From nine to six.", 6)
    wait_until(lambda: browser.find("#took").text.endswith(" s"), 5, "the server's time is shown")
    browser.find("[data-key='5']").click()
    browser.wait_for("#talk .caller", "[keypad] 5")
    assert browser.faults() == []
    browser.wait_for("#state", "The agent has hung up.", 30)
    assert browser.errors() == []

    browser.find("#link a").click()
    browser.wait_for(".verdict", "The call went as it should")
    assert "browser-" in browser.find("h1").text
    _is_in_step(browser)
    assert browser.faults() == [] and browser.errors() == []


def _is_in_step(browser: Browser) -> None:
    """The recording is long enough, and shows the turn that it plays."""
    browser.wait_for("audio")
    wait_until(lambda: browser.run("return document.querySelector('audio').duration > 5"), 5, "it can be played")
    browser.find("#turn-2 [data-seek]").click()
    browser.wait_for("#turn-2.now")
    assert browser.run("return document.querySelector('audio').currentTime") > 2


def test_a_page_says_when_it_is_not_the_present_any_more(desk: Desk) -> None:
    browser = desk.browser
    browser.open("/console")
    browser.wait_for("#nobody", "Nobody is calling.")
    desk.running.server.stop()
    browser.wait_for("#cut", "Not connected.", 5)

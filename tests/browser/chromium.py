"""Debian's chromium, driven by its own driver; what its console said, and what axe finds on a page."""

import base64
import shutil
from pathlib import Path
from typing import Any

import axe_core_python
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
_AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    # Without these it would try to reach its maker.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en",
    "--hide-scrollbars",
)


_FOCUSED = """const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();
    const ring = it.matches(":focus-visible") && style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
    return [it.textContent.trim(), ring && box.width > 0 && box.top >= 0 && box.bottom <= innerHeight];"""


class Browser:
    """Use as a context manager."""

    def __init__(self, base: str, *more: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for option in (*_OPTIONS, *more):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self._base = base
        self.driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def open(self, path: str) -> None:
        self.driver.get(self._base + path)

    def log_in(self, token: str) -> None:
        self.open("/console")
        self.find("#token").send_keys(token)
        self.find("button.main").click()
        self.wait_for("nav[aria-label=Console]")

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def wait_for(self, selector: str, text: str = "", seconds: float = 10.0) -> WebElement:
        """The first element of that kind that is seen and has the text in it."""

        def found(_: object) -> WebElement | bool:
            try:
                return next((e for e in self.all(selector) if e.is_displayed() and text in e.text), False)
            except Exception as error:
                # The page has changed under our hands.
                if "stale element" in str(error):
                    return False
                raise

        waiting: Any = WebDriverWait(self.driver, seconds, poll_frequency=0.05)
        try:
            element: WebElement = waiting.until(found)
        except TimeoutException as error:
            raise AssertionError(f"no {selector} with {text!r}: {self.find('body').text}") from error
        return element

    def press(self, *keys: str) -> None:
        """Into whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab(self, back: bool = False) -> None:
        chain = ActionChains(self.driver)
        if back:
            chain.key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT)
        else:
            chain.send_keys(Keys.TAB)
        chain.perform()

    def focused(self) -> tuple[str, bool]:
        """The words of what has the focus, and whether that is seen: within the window, with a ring around it."""
        words, seen = self.run(_FOCUSED)
        return str(words), bool(seen)

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)  # type: ignore[no-untyped-call]

    def resize(self, width: int, dark: bool = False) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._command("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def picture(self, path: Path) -> None:
        """The whole page, as a PNG."""
        height, width = self.run("return [document.documentElement.scrollHeight, innerWidth]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 2600), "scale": 1}
        shot = self._command("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))

    def errors(self) -> list[str]:
        """What the browser's console has complained about since it was last asked."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def faults(self) -> list[str]:
        """What axe finds serious or critical on the page: rule, and where."""
        self.run(_AXE)
        script = """const done = arguments[0];
            axe.run().then(done, (error) => done({violations: [{impact: "failed", id: String(error)}]}));"""
        found: dict[str, Any] = self.driver.execute_async_script(script)  # type: ignore[no-untyped-call]
        serious = [each for each in found["violations"] if each["impact"] not in ("minor", "moderate")]
        return [f"{each.get('id')}: {[node['html'][:200] for node in each.get('nodes', [])]}" for each in serious]

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.run("return document.documentElement.scrollWidth > innerWidth"))

    def _command(self, name: str, arguments: dict[str, object]) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

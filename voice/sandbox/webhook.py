"""Twilio's requests to the server: signed with the account's token as the public address, sent to where the server is.

Blocking standard-library HTTP: it is cooperative once gevent has patched the standard library.
"""

import http.client
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode, urljoin, urlsplit

from twilio.request_validator import RequestValidator

from voice.sandbox.journal import Journal

_TIMEOUT_S = 15.0


class WebhookFailed(Exception):
    """No usable answer; `code` is Twilio's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code, self.text = code, text


@dataclass(eq=False, repr=False)
class Webhooks:
    server: str
    """Where requests really go: `http://127.0.0.1:8000`."""
    public_url: str
    """What the server is called in TwiML and signatures: `https://voice.example.com`."""
    auth_token: str
    journal: Journal
    took_ms: list[float] = field(default_factory=list)
    """Each request that was answered: from its connection to the last byte."""

    def __post_init__(self) -> None:
        self.reroute(self.server)
        self._public = urlsplit(self.public_url)
        self._validator = RequestValidator(self.auth_token)

    def reroute(self, server: str) -> None:
        """From now on requests go there, as when the proxy in front is switched over. Raises ValueError."""
        split = urlsplit(server)
        if split.scheme != "http" or not split.hostname:
            raise ValueError(f"server {server!r} is not http://host:port")
        self.server, self.address = server, (split.hostname, split.port or 80)

    def absolute(self, url: str, base: str | None = None) -> str:
        return urljoin(base or self.public_url, url)

    def is_here(self, url: str) -> bool:
        """Whether this address is the server's; nothing else can be reached."""
        return urlsplit(url).netloc == self._public.netloc

    def headers(self, url: str, form: dict[str, str]) -> dict[str, str]:
        """What Twilio and a proxy in front of the server add to a request."""
        signature = self._validator.compute_signature(url, form)
        return {"X-Twilio-Signature": str(signature), "X-Forwarded-Proto": "https", "User-Agent": "TwilioProxy/1.1"}

    def fetch(self, method: str, url: str, form: dict[str, str]) -> tuple[str, str]:
        """The answer's text and content type. One more try when the connection fails. Raises WebhookFailed."""
        try:
            return self._request(method, url, form)
        except (http.client.HTTPException, ConnectionError) as error:
            self.journal.add("call", "webhook-again", repr(error))
        try:
            return self._request(method, url, form)
        except (http.client.HTTPException, ConnectionError) as error:
            raise WebhookFailed(11205, f"{url}: {error!r}") from error

    def _request(self, method: str, url: str, form: dict[str, str]) -> tuple[str, str]:
        if not self.is_here(url):
            raise WebhookFailed(11205, f"{url} is not at {self.public_url}")
        body, headers = None, {"Host": self._public.netloc}
        if method == "GET":
            url, form = f"{url}{'&' if '?' in url else '?'}{urlencode(form)}", {}
        else:
            body, headers["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded; charset=UTF-8"
        self.journal.add("sent", "webhook", f"{method} {urlsplit(url).path} {form.get('CallStatus', '')}".rstrip())
        split = urlsplit(url)
        target = split.path + (f"?{split.query}" if split.query else "")
        return self._exchange(method, target or "/", body, headers | self.headers(url, form))

    def _exchange(self, method: str, target: str, body: str | None, headers: dict[str, str]) -> tuple[str, str]:
        began = time.monotonic()
        connection = http.client.HTTPConnection(*self.address, timeout=_TIMEOUT_S)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except TimeoutError as error:
            raise WebhookFailed(11205, f"{target}: no answer within {_TIMEOUT_S:.0f} s") from error
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise WebhookFailed(11200, f"{target}: HTTP {response.status}")
        self.took_ms.append((time.monotonic() - began) * 1000)
        return text, response.headers.get("Content-Type", "")

"""The TwiML documents of one call: fetched, parsed, replaced by the fallback address when the first one fails."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from voice.sandbox.call_plan import Document
from voice.sandbox.journal import Journal
from voice.sandbox.stream_socket import LineFault
from voice.sandbox.twiml import TwimlFault, Verb, parse
from voice.sandbox.webhook import WebhookFailed, Webhooks

_XML = ("text/xml", "application/xml")
# A script that sends the call round in circles is stopped here; a long call with many resumes is far below.
_MOST = 200


@dataclass(eq=False, repr=False)
class Documents:
    web: Webhooks
    journal: Journal
    # Runs when another one cannot be had, as often as that happens.
    fallback: Document | None
    base: str = ""
    """Where the latest one came from: relative addresses in it start there."""
    _loaded: int = 0

    def load(self, document: Document, form: dict[str, str]) -> list[Verb]:
        """The document's verbs. Raises WebhookFailed when the fallback address does not help either."""
        self._loaded += 1
        if self._loaded > _MOST:
            raise WebhookFailed(11200, f"more than {_MOST} documents in one call")
        try:
            return self._load(document, form)
        except WebhookFailed as failure:
            if self.fallback is None:
                raise
            self.journal.fault(failure.code, failure.text)
            error = {"ErrorCode": str(failure.code), "ErrorUrl": self.base}
            return self._load(self.fallback, form | error)

    def stream_url(self, url: str) -> str:
        """Where a `<Stream>` of the latest document leads. Raises LineFault."""
        there = self.web.absolute(url, self.base)
        if "://" not in url:
            there = there.replace("https://", "wss://", 1)
        split = urlsplit(there)
        if split.scheme != "wss":
            raise LineFault(31922, f"{there}: the scheme is not wss")
        if not self.web.is_here(there):
            raise LineFault(31901, f"{there} is not at {self.web.public_url}")
        if split.query:
            self.journal.warn(31920, f"the query of {there} is dropped")
        return split._replace(query="").geturl()

    def _load(self, document: Document, form: dict[str, str]) -> list[Verb]:
        text = document.twiml
        if text is None:
            self.base = self.web.absolute(document.url, self.base)
            text, content_type = self.web.fetch(document.method, self.base, form)
            if not content_type.startswith(_XML):
                raise WebhookFailed(12300, f"{self.base}: content type {content_type!r}")
        try:
            return parse(text)
        except TwimlFault as fault:
            raise WebhookFailed(12100, f"{self.base}: {fault}") from fault

"""One answer of the language model: its tokens become sentences, tool calls and an end, all reported to the inbox.

Runs on a greenlet of its own from top to bottom. It writes to no socket of the call, so it may be killed at any point.
"""

from collections.abc import Callable

from voice.core import events as ev
from voice.core.sentences import Sentences
from voice.errors import VendorError, VendorRefused
from voice.wires.language_model import LanguageModel, Request, ToolCall


class Reply:
    def __init__(self, turn: int, request: Request, model: LanguageModel, report: Callable[[ev.Event], None]) -> None:
        self._turn = turn
        self._request = request
        self._model = model
        self._report = report
        self._sentences = Sentences()

    def run(self) -> None:
        """Stream the answer into `report`; failure is an event too. Whether to ask again, the conversation says."""
        started = False
        try:
            for part in self._model.stream(self._request):
                if not started:
                    started = True
                    self._report(ev.ReplyStarted(self._turn))
                if isinstance(part, ToolCall):
                    self._report(ev.ToolCalled(self._turn, part.call_id, part.name, part.arguments))
                else:
                    self._report_sentences(self._sentences.feed(part.text))
        except VendorError as error:
            refused = isinstance(error, VendorRefused)
            self._report(ev.VendorFailed("language model", error.detail, self._turn, refused))
        else:
            self.flush()
            self._report(ev.ReplyFinished(self._turn))

    def flush(self) -> None:
        """What stands of a sentence without an end counts as one. From any greenlet."""
        self._report_sentences(self._sentences.finish())

    def _report_sentences(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self._report(ev.SentenceReady(self._turn, sentence))

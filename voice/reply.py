"""One agent turn: the model's tokens become sentences, tool calls and an end, all reported to the inbox.

Runs on a greenlet of its own from top to bottom. It writes to no socket of the call, so it may be killed at any point.
"""

from collections.abc import Callable, Iterator

from voice.core import events as ev
from voice.core.sentences import Sentences
from voice.errors import VendorError, VendorUnavailable
from voice.wires.language_model import LanguageModel, Request, Text, ToolCall


def reply(turn: int, request: Request, model: LanguageModel, report: Callable[[ev.Event], None]) -> None:
    """Stream one answer into `report`; failure is an event too."""
    try:
        _report_parts(turn, _stream(request, model), report)
    except VendorError as error:
        report(ev.VendorFailed("language model", error.detail, turn))


def _report_parts(turn: int, parts: Iterator[Text | ToolCall], report: Callable[[ev.Event], None]) -> None:
    sentences = Sentences()
    started = False
    for part in parts:
        if not started:
            started = True
            report(ev.ReplyStarted(turn))
        if isinstance(part, ToolCall):
            report(ev.ToolCalled(turn, part.call_id, part.name, part.arguments))
            continue
        for sentence in sentences.feed(part.text):
            report(ev.SentenceReady(turn, sentence))
    for sentence in sentences.finish():
        report(ev.SentenceReady(turn, sentence))
    report(ev.ReplyFinished(turn))


def _stream(request: Request, model: LanguageModel) -> Iterator[Text | ToolCall]:
    """Once more, at once, when the vendor is unavailable; never after the first word, which may have been spoken."""
    spoken = False
    try:
        for part in model.stream(request):
            spoken = True
            yield part
    except VendorUnavailable:
        if spoken:
            raise
        yield from model.stream(request)

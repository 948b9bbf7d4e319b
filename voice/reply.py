"""The language model's answers: tokens become sentences, tool calls and an end, all reported to the inbox.

Each runs on a greenlet of its own from top to bottom. It writes to no socket of the call, so it may be killed anywhere.
"""

import logging
from collections.abc import Callable, Mapping

import gevent

from voice.core import events as ev
from voice.core.sentences import Sentences
from voice.core.speakable import speakable
from voice.errors import VendorError, VendorRefused
from voice.wires.completion import Usage
from voice.wires.language_model import LanguageModel, Request, ToolCall

_log = logging.getLogger("voice.call")


class Reply:
    def __init__(
        self,
        turn: int,
        request: Request,
        model: LanguageModel,
        pronunciations: Mapping[str, str],
        report: Callable[[ev.Event], None],
    ) -> None:
        self._turn = turn
        self._pronunciations = pronunciations
        self._request = request
        self._model = model
        self._report = report
        self._sentences = Sentences()
        self.pieces = 0
        """Of text that have come: the service sends each token as one."""
        self.is_cancelled = False
        """What it still has to say is no news."""

    def run(self) -> None:
        """Stream the answer into `report`; failure is an event too. Whether to ask again, the conversation says."""
        started = False
        try:
            for part in self._model.stream(self._request):
                if isinstance(part, Usage):
                    completion = part.completion_tokens + part.reasoning_tokens
                    self._tell(ev.TokensUsed(self._turn, part.prompt_tokens, part.cached_tokens, completion))
                    continue
                if not started:
                    started = True
                    self._tell(ev.ReplyStarted(self._turn))
                if isinstance(part, ToolCall):
                    self._tell(ev.ToolCalled(self._turn, part.call_id, part.name, part.arguments))
                else:
                    self.pieces += 1
                    self._report_sentences(self._sentences.feed(part.text))
        except VendorError as error:
            refused = isinstance(error, VendorRefused)
            account = isinstance(error, VendorRefused) and error.account
            self.fail(error.detail, refused, account)
        else:
            self.flush()
            self._tell(ev.ReplyFinished(self._turn))

    def fail(self, detail: str, refused: bool = False, account: bool = False) -> None:
        self._tell(ev.VendorFailed("language model", detail, self._turn, refused, account))

    def flush(self) -> None:
        """What stands of a sentence without an end counts as one. From any greenlet."""
        self._report_sentences(self._sentences.finish())

    def _report_sentences(self, sentences: list[str]) -> None:
        for sentence in sentences:
            if spoken := speakable(sentence, self._pronunciations):
                self._tell(ev.SentenceReady(self._turn, spoken))

    def _tell(self, event: ev.Event) -> None:
        if not self.is_cancelled:
            self._report(event)


class Replies:
    """The answers of one call that are under way, one for each turn; used by the call greenlet alone."""

    def __init__(self, model: LanguageModel, report: Callable[[ev.Event], None]) -> None:
        self._model = model
        self._report = report
        self._running: dict[int, tuple[Reply, gevent.Greenlet]] = {}

    def start(
        self, name: str, turn: int, request: Request, pronunciations: Mapping[str, str], pause_s: float = 0.0
    ) -> None:
        """`name` stands in the log. An answer to the same turn that is under way gives way to it. The service is asked
        after `pause_s`."""
        self.cancel(turn)
        reply = Reply(turn, request, self._model, pronunciations, self._report)
        greenlet = gevent.spawn_later(pause_s, self._run, name, turn, reply)
        greenlet.name = f"{name} reply-{turn}"
        self._running[turn] = reply, greenlet

    def _run(self, name: str, turn: int, reply: Reply) -> None:
        try:
            reply.run()
        except Exception:
            _log.exception("%s: reply-%d failed", name, turn)
            reply.fail("an error of ours")
        finally:
            if not reply.is_cancelled:
                del self._running[turn]

    def cancel(self, turn: int) -> int:
        """How many tokens had come of it; what it used in all is never told."""
        if turn not in self._running:
            return 0
        reply, greenlet = self._running.pop(turn)
        reply.is_cancelled = True
        greenlet.kill(block=False)
        return reply.pieces

    def flush(self, turn: int) -> None:
        """Take what stands of a sentence as one."""
        if turn in self._running:
            self._running[turn][0].flush()

    def greenlets(self) -> list[gevent.Greenlet]:
        return [greenlet for _, greenlet in self._running.values()]

"""One `multi-stream-input` socket: its handler's greenlet reads, each context speaks from its own, one keeps time."""

import time
from collections.abc import MutableSequence
from typing import Any

import gevent
import orjson

from voice.sandbox.delays import Delays
from voice.sandbox.elevenlabs_context import Context, Manner
from voice.sandbox.served_socket import ServedSocket
from voice.sandbox.voices import Voice

MAX_CONTEXTS = 5
_ONLY_FIRST = ("voice_settings", "generation_config", "pronunciation_dictionary_locators")
_SETTINGS_CHANGED = (
    "voice_settings field must be provided in the first message and then either be not provided or not change."
)


class Violation(Exception):
    """The vendor's 1008: a slug and a sentence, and the socket is over."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error, self.message = error, message


class SpeechSocket:
    """What one client asked for and heard, for tests to read."""

    def __init__(
        self,
        socket: ServedSocket,
        voice_id: str,
        query: dict[str, str],
        headers: dict[str, str],
        voice: Voice,
        delays: Delays,
        faults: MutableSequence[object],
    ) -> None:
        self.voice_id, self.query, self.headers = voice_id, query, headers
        self.contexts: list[Context] = []
        """All that were ever opened, oldest first; a reused id makes a new one."""
        self.keep_alives = 0
        """Messages of empty text without a context."""
        self.connected_at = time.monotonic()
        self.closed = False
        self.close_code: int | None = None
        self.close_error: str | None = None
        """The slug of the violation that ended it."""
        self.socket = socket
        self._voice, self._delays, self._faults = voice, delays, faults
        self._live: dict[str, Context] = {}
        self._manner = Manner(
            query.get("auto_mode") == "true",
            query.get("sync_alignment") == "true",
            float(query.get("inactivity_timeout", "20")),
            query.get("output_format") == "pcm_8000",
        )
        self._last_input = time.monotonic()

    def context(self, context_id: str) -> Context:
        """The newest context of this id. Raises KeyError."""
        for context in reversed(self.contexts):
            if context.id == context_id:
                return context
        raise KeyError(context_id)

    def run(self) -> None:
        """Serve until either side closes."""
        clock = gevent.spawn(self._keep_time)
        try:
            while (message := self.socket.receive()) is not None:
                self._last_input = time.monotonic()
                try:
                    self._answer(message)
                except Violation as violation:
                    self.violate(violation)
        finally:
            gevent.killall([clock, *(context.speaker for context in self._live.values())], block=False)
            self.socket.finish()
            self.closed, self.close_code = True, self.socket.close_code

    def violate(self, violation: Violation) -> None:
        self.close_error = violation.error
        self.socket.send({"message": violation.message, "error": violation.error, "code": 1008})
        self.socket.close(1008, violation.message)

    def _answer(self, raw: bytes) -> None:
        message = _parsed(raw)
        if message.get("close_socket"):
            return self._close_after_speech()
        context_id = message.get("context_id")
        if context_id is None:
            if message.get("text") != "":
                raise Violation("invalid_input_message", "context_id is missing.")
            self.keep_alives += 1
            return
        context = self._live.get(context_id)
        if message.get("close_context"):
            # A context that is over already, or never was, is closed in silence.
            return context.close() if context else None
        if context is None:
            context = self._open(context_id, message)
        elif any(name in message and message[name] != context.first.get(name) for name in _ONLY_FIRST):
            raise Violation("invalid_input_message", _SETTINGS_CHANGED)
        text = message.get("text", "")
        # The single space that opens a context is no speech.
        context.take("" if text == " " else text, bool(message.get("flush")))

    def _open(self, context_id: str, first: dict[str, Any]) -> Context:
        if len(self._live) >= MAX_CONTEXTS:
            message = f"Maximum simultaneous contexts per WebSocket connection exceeded ({MAX_CONTEXTS})."
            raise Violation("max_active_conversations", message)
        context = Context(
            context_id, first, self._manner, self.socket, self._voice, self._delays, self._faults, self._forget
        )
        self._live[context_id] = context
        self.contexts.append(context)
        return context

    def _forget(self, context: Context) -> None:
        self._live.pop(context.id, None)

    def _close_after_speech(self) -> None:
        contexts = list(self._live.values())
        for context in contexts:
            context.close()
        gevent.joinall([context.speaker for context in contexts])
        self.socket.close(1000)

    def _keep_time(self) -> None:
        """An idle context ends; an idle socket is closed."""
        limit = self._manner.inactivity_s
        while True:
            idle = [context for context in self._live.values() if not context.closed]
            oldest = min([self._last_input, *(context.last_input for context in idle)])
            gevent.sleep(max(0.01, oldest + limit - time.monotonic()))
            now = time.monotonic()
            if now >= self._last_input + limit:
                message = f"Have not received a new text input within the timeout of {limit:.1f} seconds."
                return self.violate(Violation("input_timeout_exceeded", message))
            for context in idle:
                if now >= context.last_input + limit:
                    context.close()


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(raw)
    except ValueError as error:
        raise Violation("invalid_input_message", "The message is not JSON.") from error
    if not isinstance(message, dict) or not isinstance(message.get("text", ""), str):
        raise Violation("invalid_input_message", "The message is not an object with a text.")
    if not isinstance(message.get("context_id", ""), str):
        raise Violation("invalid_input_message", "context_id must be a string.")
    schedule = (message.get("generation_config") or {}).get("chunk_length_schedule")
    if schedule is not None and (not schedule or not all(50 <= length <= 500 for length in schedule)):
        raise Violation("invalid_input_message", "chunk_length_schedule values must be between 50 and 500.")
    return message

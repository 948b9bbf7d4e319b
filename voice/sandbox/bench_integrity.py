"""Whether a call of the load test was whole and only its own: every word, every byte. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from voice.core.audio import FRAME_BYTES
from voice.sandbox.bench_observed import Observed
from voice.sandbox.bench_script import GREETING, question, sentences

# Twilio tells of a caller's end by another way too, and what had come and was not yet read is of no use then.
_UNSENT_BYTES = 25 * FRAME_BYTES

_ONE_SILENCE = bytes(0xFF if byte == 0x7F else byte for byte in range(256))


@dataclass(frozen=True)
class AudioFaults:
    """Caller audio between Twilio's socket and the transcriber's, in bytes."""

    lost: int
    added: int
    moved: int
    """In another place than they were sent in, or changed; a frame lost in the middle moves all that follow it."""

    @property
    def any(self) -> bool:
        return bool(self.lost or self.added or self.moved)


def audio_faults(sent: bytes, received: bytes, as_samples: bool = False) -> AudioFaults:
    """`as_samples`: they were made into samples and back. That leaves one of mu-law's two kinds of silence, and a
    resampler keeps the last sample for the next."""
    unsent = _UNSENT_BYTES
    if as_samples:
        sent, received, unsent = sent.translate(_ONE_SILENCE), received.translate(_ONE_SILENCE), unsent + 2
    common = min(len(sent), len(received))
    moved = 0
    if sent[:common] != received[:common]:
        moved = sum(ours != theirs for ours, theirs in zip(sent, received, strict=False))
    lost = len(sent) - len(received)
    return AudioFaults(max(0, lost) if lost > unsent else 0, max(0, -lost), moved)


def faults(call: Observed, peer: bool = False, as_samples: bool = False) -> list[str]:
    """What a call that went well would not show; each begins with the caller's number.

    A `peer` is not held to what the history tells, nor to how often it asks and clears: only to what callers hear.
    """
    found = [*_heard(call), *call.phone.complaints]
    if not peer:
        found += [*_model(call), *_vendors(call)]
    if not peer and len(call.phone.clears_at) != sum(call.part.interrupts):
        found.append(f"{len(call.phone.clears_at)} clear for {sum(call.part.interrupts)} interruptions")
    if (audio := audio_faults(call.phone.sent, call.received, as_samples)).any:
        found.append(f"caller audio: {audio.lost} bytes lost, {audio.added} added, {audio.moved} moved")
    return [f"caller {call.part.caller}: {fault}" for fault in found]


def _questions(call: Observed) -> list[str]:
    return [question(call.part.caller, turn) for turn in range(1, len(call.part.interrupts) + 1)]


def _heard(call: Observed) -> Iterable[str]:
    """The greeting and each answer in its turn; of an interrupted one its beginning."""
    rest = list(call.phone.heard)
    if rest[:1] == [GREETING]:
        del rest[0]
    else:
        yield f"heard {rest[:1]}, not the greeting"
    for turn, interrupted in enumerate(call.part.interrupts, 1):
        whole = sentences(call.part.caller, turn)
        heard = [rest.pop(0) for sentence in whole if rest and sentence.startswith(rest[0])]
        if heard != list(whole) and not (interrupted and heard):
            yield f"heard {heard} in turn {turn}"
    if rest:
        yield f"heard {rest} besides"


def _model(call: Observed) -> Iterable[str]:
    """Each request holds this caller's questions so far, nobody else's, and what can have been heard of the answers."""
    questions = _questions(call)
    for number, request in enumerate(call.requests, 1):
        if list(request.caller_said) != questions[:number]:
            yield f"the language model was told {list(request.caller_said)} in turn {number}"
        own = [GREETING, *(" ".join(sentences(call.part.caller, turn)) for turn in range(1, number))]
        told = list(request.agent_said)
        if not _beginnings(told, own):
            yield f"the language model was told that the agent said {told}"
    if len(call.requests) != len(questions):
        yield f"{len(call.requests)} requests to the language model for {len(questions)} turns"


def _vendors(call: Observed) -> Iterable[str]:
    if call.sessions != 1 or call.sockets != 1:
        yield f"its words were in {call.sessions} transcription sessions and on {call.sockets} synthesizer sockets"
    transcribed = [final.text for final in call.finals]
    if transcribed != _questions(call):
        yield f"the transcriber heard {transcribed}"
    own = [GREETING, *(" ".join(sentences(call.part.caller, n)) for n in range(1, len(call.part.interrupts) + 1))]
    # The greeting is synthesized once for all calls: it may or may not be among them.
    spoken = [" ".join(speech.text.split()) for speech in call.speeches]
    own = own if spoken[:1] == own[:1] else own[1:]
    if not _beginnings(spoken, own):
        yield f"the synthesizer was given {spoken}"


def _beginnings(texts: Sequence[str], wholes: Sequence[str]) -> bool:
    return len(texts) == len(wholes) and all(map(str.startswith, wholes, texts))

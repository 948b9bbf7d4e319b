"""The two vocabularies of a call: events say what happened (past tense), actions say what to do (imperative).

Rules for this file: frozen values only, nothing that a log line cannot hold, no vendor's word. Times are
seconds since the call's start. `voice.core.call_log` writes and reads every class in here by its name.
"""

from dataclasses import dataclass, field
from typing import Literal

from voice.core.audio import Audio

Vendor = Literal["transcriber", "language model", "synthesizer"]
Synthesis = Literal["anew", "fallback-voice", "by-request"]
"""How another synthesizer takes the place of one that is silent: over a new connection, with the agent's fallback voice
if it has one, or without any connection that stays, each sentence by a request of its own."""
Result = Literal["completed", "failed", "lost", "transferred", "handed-over"]


@dataclass(frozen=True)
class Alignment:
    """When each character of a stretch of speech begins and ends, from the start of that stretch."""

    chars: str = ""
    starts_ms: tuple[int, ...] = ()
    durations_ms: tuple[int, ...] = ()


# Events: the caller


@dataclass(frozen=True)
class StreamStarted:
    """Audio flows both ways: what we play from now on, the caller hears."""


@dataclass(frozen=True)
class CallerStartedSpeaking:
    pass


@dataclass(frozen=True)
class CallerStoppedSpeaking:
    silence_ms: int
    """How long the caller had been silent when that was decided."""


@dataclass(frozen=True)
class DigitPressed:
    digit: str
    """What was pressed; • for one that is nobody's business."""


@dataclass(frozen=True)
class MarkReturned:
    """The caller has heard this turn up to here (or a clear has thrown it away: then the turn is over already)."""

    turn: int
    position_ms: int


@dataclass(frozen=True)
class CallerHungUp:
    pass


@dataclass(frozen=True)
class StreamLost:
    """The stream ended without a word from the other side."""

    detail: str


# Events: the transcriber. `item` is its name for one utterance.


@dataclass(frozen=True)
class TranscriberReady:
    """A session hears the caller: the first one, or one after it."""

    utterances: int = 0
    """That had ended and were not understood: it hears them again, and calls them by names of its own."""
    seconds: float = 0.0
    """Of audio that it hears first, faster than real time."""


@dataclass(frozen=True)
class TranscriberLost:
    """No session hears the caller now; another one is being opened."""

    detail: str
    detects_speech: bool = False
    """It was the session that told when the caller speaks."""


@dataclass(frozen=True)
class UtteranceCommitted:
    item: str


@dataclass(frozen=True)
class TranscriptExtended:
    item: str
    text: str
    """What came in addition, not the whole."""


@dataclass(frozen=True)
class TranscriptFinished:
    item: str
    text: str
    """The whole utterance; empty when there were no words in it."""


@dataclass(frozen=True)
class TranscriptFailed:
    item: str
    """Empty when the transcriber took no utterance at all."""
    detail: str


# Events: the reply


@dataclass(frozen=True)
class ReplyStarted:
    """The language model's first token."""

    turn: int


@dataclass(frozen=True)
class SentenceReady:
    turn: int
    text: str


@dataclass(frozen=True)
class ToolCalled:
    turn: int
    call_id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""


@dataclass(frozen=True)
class TokensUsed:
    """What the language model took in and gave out for a reply; it comes before the reply's end, or not at all."""

    turn: int
    prompt: int
    """All of the request, the cached part too."""
    cached: int
    completion: int
    """All that is billed as output, thoughts too."""


@dataclass(frozen=True)
class ReplyFinished:
    turn: int


# Events: the synthesizer


@dataclass(frozen=True)
class SynthesizerReady:
    pass


@dataclass(frozen=True)
class SpeechArrived:
    turn: int
    audio: Audio
    alignment: Alignment


@dataclass(frozen=True)
class SpeechFinished:
    """No more audio will come for this turn."""

    turn: int


# Events: the rest


@dataclass(frozen=True)
class VendorFailed:
    vendor: Vendor
    detail: str
    turn: int = 0
    """The turn that it failed, 0 when it is of no use to the call any more."""
    refused: bool = False
    """Trying again cannot help: a key, a quota, a request that they will not take."""
    account: bool = False
    """Not this call alone: key or quota, which all calls share."""


@dataclass(frozen=True)
class EndRequested:
    """Somebody outside the conversation wants the call over: the monitor, an operator."""

    reason: str


@dataclass(frozen=True)
class TransferRequested:
    """An operator puts the caller through, whatever is being said."""

    to: str


@dataclass(frozen=True)
class DrainRequested:
    """The worker is going: another one is to carry the call on, from a pause in the conversation if there is one."""

    within_s: float
    """From now; then the call is handed over as it is."""


@dataclass(frozen=True)
class ToolFinished:
    turn: int
    """The turn that called it; it may be over."""
    call_id: str
    result: str
    """What the language model is told; JSON or plain text."""


@dataclass(frozen=True)
class DeadlinePassed:
    pass


# Actions


@dataclass(frozen=True)
class WaitForSilence:
    """The caller has finished after so much silence; asked for again and again as the words come."""

    silence_ms: int


@dataclass(frozen=True)
class CommitUtterance:
    """Ask the transcriber once more for the words of an utterance that it owes."""


@dataclass(frozen=True)
class StartReply:
    """Ask the language model for the agent's next turn, from the transcript as it is now."""

    turn: int
    caller: str = ""
    """Words of the caller that are not in the transcript yet, because they are not final."""
    attempt: int = 1
    """From the second on the fallback model is asked, if there is one."""
    tools: bool = True
    """Whether tools may be offered."""


@dataclass(frozen=True)
class FlushReply:
    """Take what the model has written of a sentence so far as one: its end does not come."""

    turn: int


@dataclass(frozen=True)
class CancelReply:
    turn: int


@dataclass(frozen=True)
class Speak:
    turn: int
    text: str


@dataclass(frozen=True)
class SpeakKnown:
    """Speak words that are the same in many calls: from the store of clips, if they are there."""

    turn: int
    text: str


@dataclass(frozen=True)
class ChangeSynthesizer:
    """It stays silent, or its connection is gone: another takes its place."""

    to: Synthesis


@dataclass(frozen=True)
class RunTool:
    turn: int
    call_id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""


@dataclass(frozen=True)
class CollectDigits:
    """The next keys that the caller presses belong together; sensitive ones stay where they are typed."""

    name: str
    """What they are; empty when nothing is asked for any more."""
    sensitive: bool
    length: int
    """How many they are; 0 when nobody knows."""


@dataclass(frozen=True)
class FinishSpeech:
    """The turn's text is complete: have all of it spoken."""

    turn: int


@dataclass(frozen=True)
class CloseSpeech:
    """Let go of the turn at the synthesizer; what it was told to speak still comes."""

    turn: int


@dataclass(frozen=True)
class StopSpeaking:
    """Give the turn up at the synthesizer; nothing that still comes is played."""

    turn: int


@dataclass(frozen=True)
class PlayAudio:
    turn: int
    audio: Audio


@dataclass(frozen=True)
class SendMark:
    turn: int
    position_ms: int


@dataclass(frozen=True)
class ClearPlayout:
    pass


@dataclass(frozen=True)
class TurnTimes:
    """When each stage of a turn was reached; None when it was not."""

    speech_end: float | None = None
    """The caller's last sound, before the silence that ended the utterance."""
    stopped: float | None = None
    """The decision that the caller had finished."""
    transcript: float | None = None
    first_token: float | None = None
    first_sentence: float | None = None
    first_audio: float | None = None
    heard: float | None = None
    """The first audio began to play at the caller's side."""


@dataclass(frozen=True)
class RecordTurn:
    """A turn is over: what the caller had said, and what of the answer was heard."""

    turn: int
    caller: str
    agent: str
    cut: bool
    """The caller spoke before the end of it."""
    times: TurnTimes = field(default_factory=TurnTimes)


@dataclass(frozen=True)
class RecordWaste:
    """A reply was made and thrown away unheard: what it cost."""

    turn: int
    characters: int
    """Of text given to the synthesizer."""


@dataclass(frozen=True)
class RecordDelay:
    """A stage was late, and what was done about it."""

    turn: int
    stage: str
    remedy: str


@dataclass(frozen=True)
class EndCall:
    result: Result
    reason: str
    """A few words in kebab-case, the same in logs and metrics."""
    apologize: bool = False
    """The agent's voice is what failed: the telephone itself says the apology."""
    transfer_to: str = ""
    """Whom the caller is to be connected with, by the name that the agent has for them."""
    summary: str = ""
    """What that person is told before."""


ReplyEvent = ReplyStarted | SentenceReady | ToolCalled | ReplyFinished | VendorFailed
"""What comes of asking the language model."""

Event = (
    StreamStarted
    | CallerStartedSpeaking
    | CallerStoppedSpeaking
    | DigitPressed
    | MarkReturned
    | CallerHungUp
    | StreamLost
    | TranscriberReady
    | TranscriberLost
    | UtteranceCommitted
    | TranscriptExtended
    | TranscriptFinished
    | TranscriptFailed
    | ReplyStarted
    | SentenceReady
    | ToolCalled
    | TokensUsed
    | ReplyFinished
    | SynthesizerReady
    | SpeechArrived
    | SpeechFinished
    | VendorFailed
    | EndRequested
    | TransferRequested
    | DrainRequested
    | ToolFinished
    | DeadlinePassed
)
Action = (
    WaitForSilence
    | CommitUtterance
    | StartReply
    | CancelReply
    | FlushReply
    | RunTool
    | CollectDigits
    | Speak
    | SpeakKnown
    | ChangeSynthesizer
    | FinishSpeech
    | CloseSpeech
    | StopSpeaking
    | PlayAudio
    | SendMark
    | ClearPlayout
    | RecordTurn
    | RecordWaste
    | RecordDelay
    | EndCall
)

"""What all calls of a worker share, how a call gets its sockets, and what is known of a call before it begins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from config.agents import Agent
from config.prices import Prices
from voice.breaker import Breaker
from voice.recorder import Recordings
from voice.records.records import Records
from voice.wires.clips import Clips
from voice.wires.language_model import LanguageModel
from voice.wires.synthesizer import Synthesizer
from voice.wires.telephone import Telephone
from voice.wires.transcriber import Transcriber

Opening = Literal["greeting", "resumed", "continued", "transfer_failed", "message"]
"""How the agent begins on a stream: as a new call, after a lost stream, without a word after one that was handed over,
when nobody took the transferred call, or with the message for a machine."""


@dataclass
class Name:
    """What stands in every log line of a call: the client's id, and the call's from the moment it is known."""

    text: str

    def __str__(self) -> str:
        return self.text


class Line(Protocol):
    """What is asked of the telephone in a call, besides its stream: of Twilio's REST API, or of what there is instead.

    As `Telephone` does it; all raise VendorError.
    """

    def hang_up(self, call_sid: str) -> None: ...

    def apologize(self, call_sid: str, text: str) -> None: ...

    def follow(self, call_sid: str, document: str) -> bool: ...

    def send_sms(self, from_: str, to: str, text: str) -> None: ...


@dataclass(frozen=True)
class Services:
    agents: Mapping[str, Agent]
    default_agent: str
    language_model: LanguageModel
    default_model: str
    fallback_model: str | None
    """Asked when the first answer is late or fails."""
    transcription_model: str
    speech_model: str
    prices: Prices
    clips: Clips
    telephone: Telephone
    breaker: Breaker
    records: Records
    public_url: str
    """`https://host[:port]`: where Twilio finds our doors."""
    owner: str
    """This worker, in the records."""
    call_log_dir: Path
    recordings: Recordings
    new_transcriber: Callable[[object], Transcriber]
    """Takes the name that stands in the log."""
    new_synthesizer: Callable[[Agent, str], Synthesizer]
    """Takes the voice to speak with."""


FROM_BROWSER = "browser-"
"""What stands for a caller's number at the browser phone begins so. Twilio knows nothing of such a call."""


@dataclass(frozen=True)
class Admission:
    """Who calls whom, and which agent answers: what the signed webhook said of this call."""

    agent: str
    caller_number: str
    """The other end's, also when we have called it."""
    called_number: str
    """Ours."""
    outbound: str = ""
    """The id of a call that we have placed, empty for one that came in."""
    opening: Opening = "greeting"
    stir: str = ""
    """What the telephone network says of the caller's number (STIR/SHAKEN), as Twilio words it: a hint, no proof."""
    stream_name: str = ""
    """What we call the stream to Twilio; each has its own."""

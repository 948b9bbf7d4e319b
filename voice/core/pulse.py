"""How a live call is doing, between its turns: how well each vendor works, how long the last answer took. Pure."""

from collections.abc import Sequence

from voice.core import events as ev

# Whose lateness the stages of `RecordDelay` are.
_LATE: dict[str, ev.Vendor] = {
    "transcript": "transcriber",
    "first token": "language model",
    "language model": "language model",
    "sentence": "language model",
    "speech": "synthesizer",
    "synthesizer": "synthesizer",
}


class Pulse:
    def __init__(self) -> None:
        self.health: dict[str, str] = {"transcriber": "connecting", "language model": "ok", "synthesizer": "connecting"}
        """By vendor: connecting, ok, late or failed."""
        self.took: float | None = None
        """Seconds from the caller's last sound to the first of the latest answer."""

    def happened(self, event: ev.Event, actions: Sequence[ev.Action]) -> None:
        match event:
            case ev.TranscriberReady() | ev.TranscriptExtended() | ev.TranscriptFinished():
                self.health["transcriber"] = "ok"
            case ev.ReplyStarted():
                self.health["language model"] = "ok"
            case ev.SynthesizerReady() | ev.SpeechArrived():
                self.health["synthesizer"] = "ok"
            case ev.VendorFailed():
                self.health[event.vendor] = "failed"
        for action in actions:
            match action:
                case ev.RecordDelay() if vendor := _LATE.get(action.stage):
                    self.health[vendor] = "late" if self.health[vendor] != "failed" else "failed"
                case ev.RecordTurn() if action.times.heard is not None and action.times.speech_end is not None:
                    self.took = max(0.0, action.times.heard - action.times.speech_end)

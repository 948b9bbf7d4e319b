"""The caller's side of the conversation: when they speak, what they said, and how long to wait for it."""

from voice.core import events as ev
from voice.core.agenda import Agenda, Deadline
from voice.core.backlog import PACE
from voice.core.keypad import Keypad
from voice.core.rules import Rules
from voice.core.utterances import Utterances
from voice.core.words import is_backchannel, silence_ms

TRANSCRIPT_WAIT_S = 1.8
"""From the end of an utterance: a final transcript comes 0.7 to 1.7 s after it (measured on the live service)."""
DEAF_WAIT_S = 3.5
"""While there is no transcriber, a caller is not left in silence for longer."""
COMMIT_WAIT_S = 1.2
"""From the second commit of an utterance of which not a word has come."""
STEADY_S = 0.12
"""Words come in bursts: what was understood so far is worth an answer when none has come for so long."""


class Listening:
    def __init__(self, rules: Rules, agenda: Agenda, keypad: Keypad) -> None:
        self._rules = rules
        self._agenda = agenda
        self._keypad = keypad
        self._utterances = Utterances()
        self.speaking = False
        # Of the latest utterance: its beginning, its last sound, and the decision that it was over.
        self.began: float | None = None
        self.speech_end: float | None = None
        self.stopped: float | None = None
        self._silence_ms = rules.silence_ms
        self._committed_again = False
        # When the present session has heard what those before it missed.
        self._replayed_at = 0.0
        # A session broke off in the middle of speech, and none has told of it since.
        self._broken_off = False
        self.deaf = False
        """No session of the transcriber hears the caller."""
        self.waited = False
        """Longer than a transcript takes, for a transcriber that hears."""
        # When the latest word came that is not final.
        self._word_at = 0.0

    # What happens

    def handle(self, event: ev.Event) -> None:
        match event:
            case ev.TranscriberLost():
                self.deaf = True
                if event.detects_speech and self.speaking:
                    # Nobody tells when it ends.
                    self.speaking, self._broken_off = False, True
            case ev.TranscriberReady():
                self._ready(event)
            case ev.CallerStartedSpeaking():
                self.speaking, self.began = True, self._agenda.now
                self._heard_again()
                self._utterances.started()
            case ev.CallerStoppedSpeaking():
                self._stop(event.silence_ms)
            case ev.UtteranceCommitted():
                self._utterances.committed(event.item)
            case ev.TranscriptExtended():
                self._utterances.extended(event.item, event.text)
                self._word_at = self._agenda.now
                self._wait_for_silence()
            case ev.TranscriptFinished():
                if self._utterances.finished(event.item, event.text):
                    # Only what is over has a transcript: the word of its end was lost.
                    self._stop(0)
            case ev.TranscriptFailed():
                self._utterances.failed(event.item)
            case ev.DigitPressed():
                self._typed(self._keypad.press(event.digit))
        if not self._utterances.awaited:
            self._agenda.drop(Deadline.TRANSCRIPT)

    def _heard_again(self) -> None:
        self._broken_off = False
        self._agenda.drop(Deadline.HEARD_AGAIN)

    def not_heard_again(self) -> None:
        """It was over when its session broke off, or the next one takes it for no speech."""
        self._stop(0)

    def _stop(self, after_ms: int) -> None:
        self._heard_again()
        self.speaking = self._committed_again = self.waited = False
        self._utterances.stopped()
        self.stopped, self.speech_end = self._agenda.now, self._agenda.now - after_ms / 1000
        self._wait_for_transcript()
        self._ask_for_silence(self._rules.silence_ms)

    def _ready(self, event: ev.TranscriberReady) -> None:
        self.deaf = self._committed_again = False
        self._utterances.heard_again(event.utterances)
        # While it hears what was missed, more comes in.
        self._replayed_at = self._agenda.now + event.seconds / (PACE - 1)
        if self._utterances.awaited:
            self._wait_for_transcript()
        if self._broken_off:
            self._agenda.set(Deadline.HEARD_AGAIN, self._replayed_at + TRANSCRIPT_WAIT_S)

    def _wait_for_transcript(self) -> None:
        """A session that still hears what it missed comes to the latest words when it has."""
        self._agenda.set(Deadline.TRANSCRIPT, max(self._agenda.now, self._replayed_at) + TRANSCRIPT_WAIT_S)

    def wait_for_transcriber(self) -> None:
        """Nobody can tell yet what was said."""
        self.waited = True
        self._agenda.set(Deadline.TRANSCRIPT, self._agenda.now + DEAF_WAIT_S)

    def _wait_for_silence(self) -> None:
        if self.speaking:
            rules = self._rules
            self._ask_for_silence(silence_ms(self.words, rules.silence_ms, rules.max_silence_ms, rules.language))

    def _ask_for_silence(self, wanted_ms: int) -> None:
        if wanted_ms != self._silence_ms:
            self._silence_ms = wanted_ms
            self._agenda.do(ev.WaitForSilence(wanted_ms))

    def keypad_paused(self) -> None:
        self._typed(self._keypad.complete())

    def _typed(self, words: str) -> None:
        if words:
            self._utterances.typed(words)
            self.speech_end = self.stopped = self._agenda.now

    def transcript_late(self, turn: int) -> bool:
        """Words that were understood so far have to do; of an utterance without any, ask for the words once more.

        True when there is nothing more to hope for and not a word was understood.
        """
        if not self._utterances.words and not self._committed_again:
            self._committed_again = True
            self._agenda.do(ev.RecordDelay(turn, "transcript", "asked for again"))
            self._agenda.do(ev.CommitUtterance())
            self._agenda.set(Deadline.TRANSCRIPT, self._agenda.now + COMMIT_WAIT_S)
            return False
        self._agenda.do(ev.RecordDelay(turn, "transcript", "went by what was understood so far"))
        self._utterances.give_up()
        return not self.words

    # What is known

    @property
    def words(self) -> str:
        """All that was said since the last answer, final or not."""
        return self._utterances.words

    @property
    def means_to_speak(self) -> bool:
        """There are words, and not only such as a listener says."""
        return not is_backchannel(self.words, self._rules.language, self._rules.backchannels)

    @property
    def settled(self) -> bool:
        """Something was said, and no transcript of it is still to come."""
        return self._utterances.settled

    @property
    def awaited(self) -> bool:
        """Something was said, and its transcript has not come."""
        return self._utterances.awaited

    @property
    def steady_at(self) -> float:
        """From when on the words understood so far are worth an answer."""
        return self._word_at + STEADY_S

    @property
    def typing(self) -> bool:
        return self._keypad.typing

    @property
    def spoke_ms(self) -> float:
        """How long the latest utterance was."""
        if self.began is None or self.speech_end is None:
            return 0.0
        return max(0.0, self.speech_end - self.began) * 1000

    def take(self) -> str:
        """All that was said, and begin afresh."""
        return self._utterances.take()

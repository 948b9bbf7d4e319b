"""What is to be done now, and when to look again: the actions of one event, and the deadlines of the conversation."""

from enum import Enum, auto

from voice.core.events import Action


class Deadline(Enum):
    TRANSCRIPT = auto()
    """The final transcript of what the caller said."""
    HEARD_AGAIN = auto()
    """Speech in which a session broke off that tells of speech: the next one hears it again, or it is over."""
    BOTH = auto()
    """Transcriber or synthesizer, for a call that has neither."""
    WORDS = auto()
    """Any word of a caller who has stopped the agent."""
    STEADY = auto()
    """The moment from which the words understood so far are not just beginning to come."""
    FIRST_TOKEN = auto()
    ANSWER = auto()
    """The end of the model's answer."""
    SENTENCE = auto()
    SPEECH = auto()
    """Audio for text that was handed over."""
    REFILL = auto()
    MARK = auto()
    TOOL = auto()
    KEYPAD = auto()
    IDLE = auto()
    WARNING = auto()
    DURATION = auto()
    GOODBYE = auto()
    DRAIN = auto()


class Agenda:
    """Shared by the parts of one conversation; `now` is in seconds since the call's start."""

    def __init__(self) -> None:
        self.now = 0.0
        self._actions: list[Action] = []
        self._deadlines: dict[Deadline, float] = {}

    def begin(self, now: float) -> list[Action]:
        """A new event: the list that its actions will be in."""
        self.now, self._actions = now, []
        return self._actions

    def do(self, action: Action) -> None:
        self._actions.append(action)

    def set(self, deadline: Deadline, at: float | None) -> None:
        """None takes it off."""
        if at is None:
            self._deadlines.pop(deadline, None)
        else:
            self._deadlines[deadline] = at

    def within(self, deadline: Deadline, seconds: float) -> None:
        """Set it, unless it is set already."""
        self._deadlines.setdefault(deadline, self.now + seconds)

    def drop(self, *deadlines: Deadline) -> None:
        for deadline in deadlines:
            self._deadlines.pop(deadline, None)

    def has(self, deadline: Deadline) -> bool:
        return deadline in self._deadlines

    def due(self) -> list[Deadline]:
        """The deadlines that have passed, the earliest first."""
        due = [(at, deadline) for deadline, at in self._deadlines.items() if at <= self.now]
        return [deadline for _, deadline in sorted(due, key=lambda pair: pair[0])]

    @property
    def next(self) -> float | None:
        return min(self._deadlines.values(), default=None)

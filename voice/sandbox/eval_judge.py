"""The judgement of one simulated call. Pure: what was seen goes in, figures and everything that is wrong come out."""

from collections.abc import Iterator
from dataclasses import dataclass

from voice.sandbox.eval_history import clipped_goodbyes, history, words
from voice.sandbox.eval_seen import Done, Seen, Sound

STOP_S = 2.0
"""From the caller's first sound: by then an agent that is interrupted has fallen silent."""
GO_ON_S = 1.0
"""From the end of a noise: by then an agent that it has stopped goes on."""


@dataclass(frozen=True)
class Verdict:
    """None: it could not be judged."""

    script: str
    agent: str
    call_sid: str
    turns_asked: int
    turns_answered: int
    longest_dead_air_s: float | None
    """From the caller's last sound to the agent's first, and within the agent's turns. None: nothing was asked."""
    clipped_goodbyes: int | None
    """The server hung up before the last words had been played."""
    words_not_heard: int | None
    """In the history, but the caller did not hear them."""
    words_not_in_history: int | None
    """The caller heard them, but the history does not have them."""
    false_stops: int
    """What is no interruption stopped the agent for good, or for more than a second."""
    faults: tuple[str, ...]
    """All that is wrong, in words; the call has passed when there is nothing."""

    @property
    def passed(self) -> bool:
        return not self.faults


def judge(seen: Seen) -> Verdict:
    places = range(len(seen.done))
    answers = {place: _answer(seen, place) for place in places if seen.done[place].step.asks}
    answered = [place for place, answer in answers.items() if answer and _answers_words(seen, answer.turn)]
    silences = [*_silences(seen, answers), *_pauses(seen)]
    longest = max((seconds for seconds, _ in silences), default=None)
    too_long = [f"{seconds:.1f} s of dead air {where}" for seconds, where in silences if _too_long(seen, seconds)]
    unanswered = [f"no answer to {seen.done[place].step}" for place in answers if place not in answered]
    clipped = clipped_goodbyes(seen)
    not_heard, not_in_history = history(seen)
    false_stops = [fault for place in places if (fault := _false_stop(seen, place))]
    return Verdict(
        script=seen.script.name,
        agent=seen.agent,
        call_sid=seen.call_sid,
        turns_asked=len(answers),
        turns_answered=len(answered),
        longest_dead_air_s=None if longest is None else round(longest, 3),
        clipped_goodbyes=None if clipped is None else len(clipped),
        words_not_heard=None if not_heard is None else len(not_heard),
        words_not_in_history=None if not_in_history is None else len(not_in_history),
        false_stops=len(false_stops),
        faults=(
            *([seen.failure] if seen.failure else []),
            *_bad_end(seen),
            *(f"Twilio would warn: {warning}" for warning in seen.warnings),
            *unanswered,
            *too_long,
            *(clipped or []),
            *_told("in the history but not heard", not_heard),
            *_told("heard but not in the history", not_in_history),
            *false_stops,
            *(fault for place in places for fault in _unmet(seen, place)),
        ),
    )


# Answers and dead air


def _answer(seen: Seen, place: int) -> Sound | None:
    """The first sound of the turn that followed a step."""
    done = seen.done[place]
    after = done.began if done.step.kind == "silence_s" else done.ended
    begun = seen.turns_begun(after, seen.next_began(place))
    return begun[0] if begun else None


def _answers_words(seen: Seen, turn: int) -> bool:
    """It answers something: it is no prompt, and no request to say it again."""
    record = seen.record(turn)
    return record is not None and bool(record.caller)


def _silences(seen: Seen, answers: dict[int, Sound | None]) -> Iterator[tuple[float, str]]:
    for place, answer in answers.items():
        if answer:
            done = seen.done[place]
            spoke_until = max((s.end for s in seen.sounds if s.start < answer.start), default=0.0)
            yield max(0.0, answer.start - max(done.ended, spoke_until)), f"after {done.step}"


def _pauses(seen: Seen) -> Iterator[tuple[float, str]]:
    """The gaps within the agent's turns, as far as the caller was quiet in them."""
    for turn in {sound.turn for sound in seen.sounds}:
        of_turn = [sound for sound in seen.sounds if sound.turn == turn]
        for sound, following in zip(of_turn, of_turn[1:], strict=False):
            made = (done.ended for done in seen.done if done.step.kind in ("say", "noise"))
            quiet_from = max([sound.end, *(end for end in made if end < following.start)])
            yield following.start - quiet_from, f"within turn {turn}"


def _too_long(seen: Seen, seconds: float) -> bool:
    return seconds > seen.script.max_dead_air_s


# The end


def _bad_end(seen: Seen) -> Iterator[str]:
    ends = [line for line in seen.log if line.get("action") == "EndCall"]
    if not ends:
        yield "the server's log has no end of the call"
    for end in ends:
        if end["result"] in ("failed", "lost"):
            yield f"the call ended as {end['result']}, {end['reason']}"


def _told(what: str, wrong: list[str] | None) -> Iterator[str]:
    if wrong:
        yield f"{len(wrong)} words {what}: {' '.join(wrong[:12])}"


# What was expected of each step


def _false_stop(seen: Seen, place: int) -> str:
    done = seen.done[place]
    if done.step.expect != "no_stop":
        return ""
    sound, following = _sounding(seen, done)
    if sound is None:
        return ""
    if following:
        late = following.start - max(sound.end, done.ended)
        return f"{done.step} stopped the agent until {late:.1f} s after it" if late > GO_ON_S else ""
    record = seen.record(sound.turn)
    for_good = record is not None and record.cut and sound.end < seen.next_began(place)
    hung_up = seen.hung_up_by == "caller" and place == len(seen.done) - 1 and sound is seen.sounds[-1]
    return f"{done.step} stopped the agent for good" if for_good and not hung_up else ""


def _sounding(seen: Seen, done: Done) -> tuple[Sound | None, Sound | None]:
    """The agent's sound when a step began, and what came of the same turn after a pause."""
    for place, sound in enumerate(seen.sounds):
        if sound.start <= done.began < sound.end:
            of_turn = (later for later in seen.sounds[place + 1 :] if later.turn == sound.turn)
            return sound, next(of_turn, None)
    return None, None


def _unmet(seen: Seen, place: int) -> Iterator[str]:
    done = seen.done[place]
    step = done.step
    match step.expect:
        case "stop":
            yield from _not_stopped(seen, done)
        case "nothing":
            if seen.turns_begun(done.began, seen.next_began(place)):
                yield f"the agent spoke at {step}"
        case "answer" if step.kind == "silence_s" and not _answer(seen, place):
            yield f"the agent said nothing in {step}"
    if step.kind == "wait_for_hang_up" and seen.hung_up_by != "server":
        yield "the agent did not hang up"
    if step.expect_words:
        yield from _words_missing(seen, place)


def _not_stopped(seen: Seen, done: Done) -> Iterator[str]:
    sound, following = _sounding(seen, done)
    if sound is None:
        return
    record = seen.record(sound.turn)
    if following or sound.end - done.began > STOP_S or not (record and record.cut):
        yield f"{done.step} did not stop the agent within {STOP_S:.0f} s"


def _words_missing(seen: Seen, place: int) -> Iterator[str]:
    step = seen.done[place].step
    if step.kind == "wait_for_hang_up":
        answer = seen.sounds[-1] if seen.sounds else None
    else:
        answer = _answer(seen, place)
    if answer is None:
        return
    heard = seen.heard(answer.turn)
    record = seen.record(answer.turn)
    said = f" {' '.join(words(heard if heard is not None else record.agent if record else ''))} "
    for wanted in step.expect_words:
        if f" {' '.join(words(wanted))} " not in said:
            yield f"{wanted!r} was not in the answer to {step}:{said.rstrip()}"

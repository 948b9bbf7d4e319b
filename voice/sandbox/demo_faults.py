"""What the demo's call would not show if all had gone as it should."""

from collections.abc import Iterator, Sequence

from voice.sandbox.call_tail import Line
from voice.sandbox.demo_caller import heard_turns
from voice.sandbox.journal import Notice

_TURNS = 11
_INTERRUPTED = 3
_TOOLS = ["ask_for_digits", "send_sms", "transfer_call", "hang_up"]


def faults(lines: list[Line], warnings: Sequence[Notice], texted: int, dialed: int, scripted: bool) -> list[str]:
    """`warnings` are Twilio's; so many messages went out, and so many humans were dialed.

    Not `scripted`: a real language model decides what the agent says and does.
    """
    return [*_of_any_call(lines, warnings), *(_of_the_script(lines, texted, dialed) if scripted else ())]


def _of_any_call(lines: list[Line], warnings: Sequence[Notice]) -> Iterator[str]:
    for warning in warnings:
        yield f"Twilio would warn: {warning}"
    for turn in heard_turns(lines):
        if turn["times"]["heard"] is None:
            yield f"turn {turn['turn']} was never heard"
    ends = [line for line in lines if line.get("action") == "EndCall"]
    if [(end["result"], end["reason"]) for end in ends[-1:]] != [("completed", "agent-hung-up")]:
        yield f"it did not end with the agent's hang-up but with {ends[-1:] or 'nothing'}"


def _of_the_script(lines: list[Line], texted: int, dialed: int) -> Iterator[str]:
    turns = heard_turns(lines)
    if len(turns) != _TURNS:
        yield f"{len(turns)} turns took place, not {_TURNS}"
    if [place for place, turn in enumerate(turns, 1) if turn["cut"]] != [_INTERRUPTED]:
        yield f"not just turn {_INTERRUPTED} was interrupted"
    spoken = [turn["turn"] for turn in turns]
    called = [line["name"] for line in lines if line.get("event") == "ToolCalled" and line["turn"] in spoken]
    if called != _TOOLS:
        yield f"the tools were {called}, not {_TOOLS}"
    if texted != 1:
        yield f"{texted} text messages were sent, not one"
    if dialed != 1:
        yield f"{dialed} humans were dialed, not one"

"""The demo: one whole call on this machine, told as it goes. The real server under gunicorn, stand-ins for the vendors.

A vendor whose key stands in the environment is the real one.
"""

import os
import signal
import sys
import wave
from collections.abc import Mapping
from pathlib import Path

import gevent
from gevent.event import Event

from voice.sandbox.call_tail import CallTail, Line
from voice.sandbox.delays import Delays
from voice.sandbox.journal import PhoneTimeout
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ServerProcess
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.voices import Espeak

# The keys that make a vendor real, each with the address that would otherwise be the stand-in's.
_VENDORS = {
    "transcriber": ("OPENAI_API_KEY", "OPENAI_REALTIME_URL"),
    "language model": ("XAI_API_KEY", "XAI_BASE_URL"),
    "synthesizer": ("ELEVENLABS_API_KEY", "ELEVENLABS_BASE_URL"),
}
_STAGES = (
    ("decided", "stopped"),
    ("final transcript", "transcript"),
    ("first token", "first_token"),
    ("first audio", "first_audio"),
    ("heard", "heard"),
)
_CALLER_VOICE = "en-us+f3"
_INTERRUPT_AFTER_MS = 1200
_TURN_S = 30.0


def run(wav: Path, port: int, keep_serving: bool) -> int:
    """Returns the exit code: 0 when the call went as it should."""
    gevent.signal_handler(signal.SIGTERM, lambda: sys.exit(143))
    wav.parent.mkdir(parents=True, exist_ok=True)
    log_path = wav.parent / "server.log"
    calls_dir = wav.parent / "calls"
    print("Starting the server and the stand-ins for the vendors ...", flush=True)
    with Sandbox(delays=Delays.like_the_vendors(), speech="espeak") as sandbox, log_path.open("wb") as log:
        environment = _environment(sandbox, os.environ) | {
            "CALL_LOG_DIR": str(calls_dir.absolute()),
            "CLIPS_DIR": str((wav.parent / "clips").absolute()),
        }
        server = ServerProcess(environment, log, workers=1, port=port)
        try:
            server.start()
            print(f"  server      {server.url} (gunicorn, one worker; its log: {log_path})")
            print(f"  vendors     {_who(os.environ)}")
            went_well = _place_call(server, sandbox, calls_dir, wav)
            if keep_serving:
                print(f"\nStill serving on {server.url}; Ctrl-C ends it.", flush=True)
                _wait_for_interrupt()
            return 0 if went_well else 1
        except RuntimeError as error:
            print(f"{error}; see {log_path}:\n{log_path.read_text()[-2000:]}", file=sys.stderr)
            return 1
        finally:
            server.stop()


def _environment(sandbox: Sandbox, environ: Mapping[str, str]) -> dict[str, str]:
    """What the server is told: the stand-ins' addresses and keys, but for the vendors whose key is given."""
    told = sandbox.environment()
    for key, address in _VENDORS.values():
        if environ.get(key):
            del told[key], told[address]
    return told


def _who(environ: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {'real' if environ.get(key) else 'stand-in'}" for name, (key, _) in _VENDORS.items())


def _place_call(server: ServerProcess, sandbox: Sandbox, calls_dir: Path, wav: Path) -> bool:
    twilio = sandbox.twilio
    caller_voice = Espeak(voice=_CALLER_VOICE)
    phone = Phone(
        server=server.url,
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token,
        twilio=twilio,
        voice=lambda words: caller_voice.synthesize(words).mulaw,
    )
    log_path = calls_dir / f"{phone.call_sid}.jsonl"
    print(f"  call        {phone.call_sid}\n", flush=True)
    tail = CallTail(log_path, _tell)
    faults = []
    try:
        _hold_conversation(phone, tail)
        phone.wait_until_over(_TURN_S)
    except (TimeoutError, PhoneTimeout) as error:
        faults.append(str(error))
        phone.hang_up()
    tail.read()
    tail.close()
    phone.save(wav)
    faults += _faults(tail.lines, phone)
    print(f"\n  sound       {wav} ({_measured(wav)})")
    print(f"  call log    {log_path} (python -m voice replay {log_path})")
    print("  The call went as it should." if not faults else "  The call went wrong:\n    " + "\n    ".join(faults))
    return not faults


def _hold_conversation(phone: Phone, tail: CallTail) -> None:
    """Three questions, the second answer interrupted by the third, and a goodbye."""
    phone.dial()
    _heard(tail, 1)
    phone.say("What are your opening hours?")
    _heard(tail, 2)
    phone.say("Where are you located?")
    _playing(tail)
    phone.say("I would like to book an appointment.")
    _heard(tail, 4)
    phone.say("Tuesday please.")
    _heard(tail, 5)
    phone.say("Goodbye.")


def _heard(tail: CallTail, turns: int) -> None:
    """So many turns of the agent have been heard, or cut."""
    tail.wait_for(lambda _: len(_heard_turns(tail.lines)) >= turns, _TURN_S)


def _heard_turns(lines: list[Line]) -> list[Line]:
    """The turns of which anything was heard: one that was begun too early is thrown away unheard."""
    return [line for line in lines if line.get("action") == "RecordTurn" and line["agent"]]


def _playing(tail: CallTail) -> None:
    """The caller has heard a good second of the turn that follows the last one."""
    last = _heard_turns(tail.lines)[-1]["turn"]

    def is_mark(line: Line) -> bool:
        return line.get("event") == "MarkReturned" and line["turn"] > last and line["position_ms"] > _INTERRUPT_AFTER_MS

    tail.wait_for(is_mark, _TURN_S)


def _tell(line: Line) -> None:
    if line.get("action") == "RecordTurn" and line["agent"]:
        _tell_turn(line)
    elif line.get("action") == "EndCall":
        print(f"  {_clock(line['t'])}  call {line['result']}: {line['reason']}", flush=True)


def _tell_turn(line: Line) -> None:
    times = line["times"]
    end = times["speech_end"]
    if line["caller"]:
        print(f"  {_clock(end)}  caller  {line['caller']}")
    began = times["heard"] or line["t"]
    cut = "  -- interrupted" if line["cut"] else ""
    print(f"  {_clock(began)}  agent   {line['agent']}{cut}")
    if end is not None:
        reached = [f"{name} {(times[key] - end) * 1000:.0f}" for name, key in _STAGES if times[key] is not None]
        print(f"                   speech end 0 -> {' -> '.join(reached)} ms")
    sys.stdout.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"


def _faults(lines: list[Line], phone: Phone) -> list[str]:
    """What a good call would not show."""
    turns = _heard_turns(lines)
    ends = [line for line in lines if line.get("action") == "EndCall"]
    faults = [f"Twilio would warn: {warning}" for warning in phone.warnings]
    if [(end["result"], end["reason"]) for end in ends] != [("completed", "agent-hung-up")]:
        faults.append(f"it did not end with the agent's hang-up but with {ends or 'nothing'}")
    if len(turns) < 6:
        faults.append(f"only {len(turns)} of 6 turns took place")
    if [place for place, turn in enumerate(turns, 1) if turn["cut"]] != [3]:
        faults.append("not just the third turn was interrupted")
    faults += [f"turn {turn['turn']} was never heard" for turn in turns if turn["times"]["heard"] is None]
    return faults


def _measured(path: Path) -> str:
    with wave.open(str(path)) as sound:
        seconds = sound.getnframes() / sound.getframerate()
        return f"{seconds:.1f} s, {sound.getframerate()} Hz, {sound.getnchannels()} channels: caller left, agent right"


def _wait_for_interrupt() -> None:
    interrupted = Event()
    gevent.signal_handler(signal.SIGINT, interrupted.set)
    interrupted.wait()

"""The demo: one whole call on this machine, told as it goes. The real server under gunicorn, stand-ins for the vendors.

A vendor whose key stands in the environment is the real one.
"""

import os
import secrets
import signal
import sys
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from voice.sandbox.call_plan import CallSetup, created
from voice.sandbox.call_tail import CallTail
from voice.sandbox.delays import Delays
from voice.sandbox.demo_account import Account
from voice.sandbox.demo_caller import DemoCaller
from voice.sandbox.demo_faults import faults
from voice.sandbox.demo_record import Api, told
from voice.sandbox.demo_report import report
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ServerProcess
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.twilio_rest import CreatedCall
from voice.sandbox.voices import Espeak

# The keys that make a vendor real, each with the address that would otherwise be the stand-in's.
_VENDORS = {
    "transcriber": ("OPENAI_API_KEY", "OPENAI_REALTIME_URL"),
    "language model": ("XAI_API_KEY", "XAI_BASE_URL"),
    "synthesizer": ("ELEVENLABS_API_KEY", "ELEVENLABS_BASE_URL"),
}
_CALLER_VOICE = "en-us+f3"


def run(wav: Path, port: int, keep_serving: bool) -> int:
    """Returns the exit code: 0 when the call went as it should."""
    gevent.signal_handler(signal.SIGTERM, lambda: sys.exit(143))
    wav.parent.mkdir(parents=True, exist_ok=True)
    log_path = wav.parent / "server.log"
    calls_dir = wav.parent / "calls"
    print("Starting the server and the stand-ins for the vendors ...", flush=True)
    with Sandbox(delays=Delays.like_the_vendors(), speech="espeak") as sandbox, log_path.open("wb") as log:
        sandbox.xai.extract = report
        token = secrets.token_hex(16)
        environment = _environment(sandbox, os.environ) | {
            # Whoever answers elsewhere: the call is made for this one.
            "AGENTS_DIR": "",
            "DEFAULT_AGENT": "receptionist",
            "API_TOKEN": token,
            "TWILIO_PHONE_NUMBER": "+15559990000",
            "CALL_LOG_DIR": str(calls_dir.absolute()),
            "CLIPS_DIR": str((wav.parent / "clips").absolute()),
            "DATABASE_URL": f"sqlite:///{(wav.parent / 'voice.db').absolute()}",
        }
        server = ServerProcess(environment, log, workers=1, port=port)
        try:
            server.start()
            print(f"  server      {server.url} (gunicorn, one worker; its log: {log_path})")
            print(f"  vendors     {_who(os.environ)}")
            api = Api(server.url, token)
            went_well = _place_call(server, sandbox, api, calls_dir, wav)
            if keep_serving:
                sandbox.twilio.on_create = lambda call: _answer(server, sandbox, call)
                print(f"\nStill serving on {server.url}; Ctrl-C ends it. All calls: {api.by_hand()}")
                print(
                    "  A number that you have it call (docs/outbound.md) is answered by a phone that says goodbye.",
                    flush=True,
                )
                print(f"  Its console: {server.url}/console, and a phone in the browser: {server.url}/console/phone")
                print(f"  The token for both: {token}", flush=True)
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


def _place_call(server: ServerProcess, sandbox: Sandbox, api: Api, calls_dir: Path, wav: Path) -> bool:
    phone = _phone(server, sandbox)
    log_path = calls_dir / f"{phone.call_sid}.jsonl"
    print(f"  call        {phone.call_sid}\n", flush=True)
    texted = sandbox.twilio.messages
    tail = CallTail(log_path, Account(texted, lambda: phone.dialed).tell)
    wrong = _converse(phone, tail)
    phone.save(wav)
    print(f"\n  sound       {wav} ({_measured(wav)})")
    print(f"  call log    {log_path} (make replay LOG={log_path})")
    where = f"DATABASE_URL=sqlite:///{wav.parent / 'voice.db'} CALL_LOG_DIR={calls_dir}"
    print(f"  explain     {where} .venv/bin/python -m voice explain {phone.call_sid}", flush=True)
    scripted = not os.environ.get("XAI_API_KEY")
    wrong += faults(tail.lines, phone.warnings, len(texted), len(phone.dialed), scripted)
    try:
        for name, text in told(api.record(phone.call_sid)):
            print(f"  {name:<10}  {text}")
    except (RuntimeError, OSError) as error:
        wrong.append(f"no record: {error}")
    print("  The call went as it should." if not wrong else "  The call went wrong:\n    " + "\n    ".join(wrong))
    return not wrong


def _converse(phone: Phone, tail: CallTail) -> list[str]:
    """The whole call; returns what it broke off for."""
    wrong = []
    try:
        DemoCaller(phone, tail).converse()
    except TimeoutError as error:
        wrong.append(str(error))
        phone.hang_up()
    tail.read()
    tail.close()
    return wrong


def _phone(server: ServerProcess, sandbox: Sandbox) -> Phone:
    """The caller's, who is put through to nobody: at the front desk it rings in vain."""
    return _any_phone(server, sandbox, setup=CallSetup(dial_outcome="no-answer"))


def _answer(server: ServerProcess, sandbox: Sandbox, call: CreatedCall) -> None:
    """Whoever the server calls: hears the greeting, and says goodbye."""
    phone = _any_phone(
        server,
        sandbox,
        call_sid=call.sid,
        from_number=call.from_number,
        to_number=call.to_number,
        setup=created(call.form),
    )
    print(f"  {call.to_number} rings and is answered: {call.sid}", flush=True)
    try:
        phone.dial()
        phone.wait_until_stream()
        phone.wait_for(lambda: bool(phone.agent_spans_ms), 10)
        phone.wait_until_silent(700, 30)
        phone.say("Goodbye.")
        phone.wait_until_over(20)
    except TimeoutError:
        phone.hang_up()
    print(f"  {call.sid} is over: {phone.over_reason}", flush=True)


def _any_phone(server: ServerProcess, sandbox: Sandbox, **options: Any) -> Phone:
    voice = Espeak(voice=_CALLER_VOICE)
    return Phone(
        server=server.url,
        account_sid=sandbox.twilio.account_sid,
        auth_token=sandbox.twilio.auth_token,
        twilio=sandbox.twilio,
        voice=lambda words: voice.synthesize(words).mulaw,
        **options,
    )


def _measured(path: Path) -> str:
    with wave.open(str(path)) as sound:
        seconds = sound.getnframes() / sound.getframerate()
        return f"{seconds:.1f} s, {sound.getframerate()} Hz, {sound.getnchannels()} channels: caller left, agent right"


def _wait_for_interrupt() -> None:
    interrupted = Event()
    gevent.signal_handler(signal.SIGINT, interrupted.set)
    interrupted.wait()

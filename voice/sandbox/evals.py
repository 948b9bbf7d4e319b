"""The evals: simulated callers hold whole conversations with the real server, all at the same time, and are judged.

A vendor whose key stands in the environment is the real one. Needs `gevent.monkey.patch_all()`.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gevent

from voice.sandbox import eval_report
from voice.sandbox.delays import Delays
from voice.sandbox.demo_script import Answer, Message, ToolCall, text_of
from voice.sandbox.eval_caller import Caller
from voice.sandbox.eval_cast import Cast, Part, cast
from voice.sandbox.eval_judge import Verdict, judge
from voice.sandbox.eval_script import ScriptError
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ServerProcess
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.voices import Espeak

_TRANSCRIBER, _LANGUAGE_MODEL, _SYNTHESIZER = "OPENAI", "XAI", "ELEVENLABS"
# By vendor: what the server is not told of the stand-in when the key in the environment is a real one.
_VENDORS = {
    _TRANSCRIBER: ("OPENAI_API_KEY", "OPENAI_REALTIME_URL"),
    _LANGUAGE_MODEL: ("XAI_API_KEY", "XAI_BASE_URL"),
    _SYNTHESIZER: ("ELEVENLABS_API_KEY", "ELEVENLABS_BASE_URL"),
}
_CALLER_VOICE = "en-us+f3"
_APART_S = 0.1
"""Callers do not dial in the same moment."""


def run(paths: Sequence[Path], agent: Path | None, json_path: Path) -> int:
    """Play the scripts, all of the project's if there is none in `paths`; `agent` is one of the user's own.

    Returns the exit code: 0 when every call passed, 1 when one did not, 2 when nothing could be played. Logs of all
    calls and the sound of those that failed stay beside `json_path`, in a folder of the same name.
    """
    gevent.signal_handler(signal.SIGTERM, lambda: sys.exit(143))
    try:
        chosen = cast(paths, agent)
    except ScriptError as error:
        print(error, file=sys.stderr)
        return 2
    folder = json_path.with_suffix("")
    about = _about(chosen, os.environ)
    print(f"{len(chosen.parts)} callers dial ...", flush=True)
    began = time.monotonic()
    try:
        verdicts = play(chosen, folder)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    about["time"] = f"{time.monotonic() - began:.0f} s"
    print(eval_report.table(about, verdicts, folder))
    eval_report.write(json_path, about, verdicts, chosen.left_out)
    print(f"  {json_path}")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def play(chosen: Cast, folder: Path) -> list[Verdict]:
    """In the order of the scripts. Raises RuntimeError with the server's log when it does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "server.log"
    real = _real(os.environ)
    with tempfile.TemporaryDirectory() as name, Sandbox(delays=Delays.like_the_vendors()) as sandbox:
        sandbox.xai.answer = echo
        environment = _environment(chosen, sandbox, real, folder.absolute(), Path(name))
        with log_path.open("wb") as log:
            server = ServerProcess(environment, log)
            try:
                server.start()
                callers = _call(chosen, server, sandbox, folder, _TRANSCRIBER in real)
            except RuntimeError as error:
                raise RuntimeError(f"{error}; {log_path}:\n{log_path.read_text()[-2000:]}") from error
            finally:
                server.stop()
        return [_judge(caller, sandbox, real, folder) for caller in callers]


def echo(messages: list[Message]) -> Answer:
    """The language model's stand-in: repeats the caller's words; says goodbye and hangs up on the word goodbye."""
    said = text_of(messages[-1])
    if "goodbye" in said.lower():
        return Answer("Goodbye then.", (ToolCall("hang_up"),))
    return Answer(f"You said: {said}")


def _call(chosen: Cast, server: ServerProcess, sandbox: Sandbox, folder: Path, real_ears: bool) -> list[Caller]:
    """All callers at once; returns when the last call is over."""
    callers = []
    for part in chosen.parts:
        phone = _phone(part, server, sandbox, real_ears)
        log_path = folder / "calls" / f"{phone.call_sid}.jsonl"
        callers.append(Caller(part.script, part.agent.stem, phone, log_path))
    calling = [gevent.spawn_later(place * _APART_S, caller.run) for place, caller in enumerate(callers)]
    gevent.joinall(calling, raise_error=True)
    return callers


def _phone(part: Part, server: ServerProcess, sandbox: Sandbox, real_ears: bool) -> Phone:
    voice: Callable[[str], bytes] | None = None
    if real_ears:
        espeak = Espeak(voice=_CALLER_VOICE)
        voice = lambda text: espeak.synthesize(text).mulaw  # noqa: E731
    return Phone(
        server=server.url,
        account_sid=sandbox.twilio.account_sid,
        auth_token=sandbox.twilio.auth_token,
        twilio=sandbox.twilio,
        to_number=part.number,
        voice=voice,
    )


def _judge(caller: Caller, sandbox: Sandbox, real: set[str], folder: Path) -> Verdict:
    remembered = None if _LANGUAGE_MODEL in real else _remembered(sandbox, caller.phone.call_sid)
    verdict = judge(caller.seen(remembered, readable=_SYNTHESIZER not in real))
    if not verdict.passed:
        caller.phone.save(folder / f"{caller.script.name}.wav")
    return verdict


def _remembered(sandbox: Sandbox, call_sid: str) -> list[list[str]]:
    """What the agent had said, as each request of the call told the language model."""
    asked = [one for one in sandbox.xai.requests if one.headers.get("x-grok-conv-id") == call_sid]
    bodies = [one.body["messages"] for one in asked if isinstance(one.body, dict)]
    # Words before a tool call belong to a turn that goes on: they are recorded at its end.
    return [
        [text_of(m) for m in messages if m["role"] == "assistant" and not m.get("tool_calls")] for messages in bodies
    ]


def _real(environ: Mapping[str, str]) -> set[str]:
    return {vendor for vendor, (key, _) in _VENDORS.items() if environ.get(key)}


def _environment(chosen: Cast, sandbox: Sandbox, real: set[str], folder: Path, scratch: Path) -> dict[str, str]:
    """What the server is told: stand-ins but for the real vendors; nothing is written outside the two folders."""
    told = sandbox.environment()
    for vendor in real:
        for name in _VENDORS[vendor]:
            del told[name]
    agents = scratch / "agents"
    agents.mkdir()
    for agent in chosen.agents:
        shutil.copy(agent, agents)
    return told | {
        "AGENTS_DIR": str(agents),
        "DEFAULT_AGENT": chosen.default_agent.stem,
        "CALL_LOG_DIR": str(folder / "calls"),
        "CLIPS_DIR": str(scratch / "clips"),
        "DATABASE_URL": f"sqlite:///{scratch / 'voice.db'}",
    }


def _about(chosen: Cast, environ: Mapping[str, str]) -> dict[str, object]:
    real = _real(environ)
    about: dict[str, object] = {
        "agents": ", ".join(sorted(path.stem for path in chosen.agents)),
        "vendors": "stand-ins at the vendors' pace" if not real else f"real: {', '.join(sorted(real))}",
    }
    if _SYNTHESIZER in real:
        about["not judged"] = "what was heard, word by word: it cannot be read out of a real voice"
    if chosen.left_out:
        about["left out"] = "; ".join(chosen.left_out)
    return about

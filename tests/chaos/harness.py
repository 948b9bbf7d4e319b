"""One server with two workers, its vendors behind proxies, healthy calls, and one call that meets the fault.

The victim's vendors are stand-ins of its own: what they saw is the victim's, and their faults hit nobody else.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gevent

from tests.chaos.healthy import GREETING, Crowd
from tests.chaos.workers import Probe, Workers, probing
from tests.running import Running, echo, secrets_in, wait_until
from voice.sandbox import bench_script
from voice.sandbox.chaos_proxy import ChaosProxy
from voice.sandbox.delays import Delays
from voice.sandbox.phone import Phone
from voice.sandbox.stand_ins import Sandbox

APOLOGY = "Sorry, something is wrong. Goodbye."
FILLER = "One moment, please."
SILENCE_MS = 400
_HEALTHY_NUMBER = "+15550009001"
_VICTIM = "CAdeadbeef"
_NOWHERE = ("127.0.0.1", 0)
_MATRIX_CALLS = 48
"""So many healthy calls the fault matrix has beside each row: its bounds for hub and memory are meant so."""
_AGENT = f"""greeting = "{GREETING}"
instructions = "You answer the phone."
apology = "{APOLOGY}"
tools = ["hang_up"]
%s
[turn_taking]
silence_ms = {SILENCE_MS}
preemptive = "off"
[limits]
max_duration_s = 7200
idle_prompt_s = 120
"""
# The default agent's voice is the one that every call dials with before it knows its agent.
_AGENTS = {
    "victim": 'voice = "victimVoice"\nfallback_voice = "victimVoiceToo"\nkeywords = ["Victimville"]',
    "healthy": f'voice = "healthyVoice"\nnumbers = ["{_HEALTHY_NUMBER}"]',
}
_TROUBLE = re.compile(r"^\S+ (WARNING|ERROR|CRITICAL) ", re.MULTILINE)


class Victim(Phone):
    """The phone whose call meets the fault, and what its caller would say of it."""

    def ask(self, words: str) -> float:
        """Say it; `time.monotonic()` of its last sound."""
        assert self.say(words), f"the call was over: {self.over_reason}"
        return time.monotonic()

    def sound_after(self, moment: float, timeout: float = 15.0) -> float:
        """Seconds from `moment` (monotonic) to the next sound of the agent; 0 while one was playing."""
        self.wait_for(lambda: self._sound_after(moment) is not None, timeout)
        after = self._sound_after(moment)
        assert after is not None
        return after

    def silence(self, since: float, until: float) -> float:
        """The longest stretch of seconds between the two moments in which nothing was to be heard."""
        edges = [since]
        for start, end in self._spans():
            if end > since and start < until:
                edges += [max(since, start), min(until, end)]
        edges.append(until)
        return max(later - earlier for earlier, later in zip(edges[::2], edges[1::2], strict=True))

    def heard_at(self, words: str) -> float:
        """`time.monotonic()` at which the utterance began that begins or holds these words."""
        wanted, text = words.casefold(), ""
        for utterance in self.heard:
            before, text = len(text), text + utterance.text.casefold().strip() + " "
            # Words may go on in the next utterance: a sentence is one.
            if utterance.text.strip() and (wanted in text[before:] or wanted.startswith(text[before:].strip())):
                start = self.began + utterance.start_ms / 1000
                # An utterance after a pause is put down to the end of what was heard before it.
                return next(max(start, began) for began, ended in self._spans() if ended > start + 0.001)
        raise AssertionError(f"{words!r} was not heard")

    def _spans(self) -> list[tuple[float, float]]:
        return [(self.began + start / 1000, self.began + end / 1000) for start, end in self.agent_spans_ms]

    def _sound_after(self, moment: float) -> float | None:
        return next((max(0.0, start - moment) for start, end in self._spans() if end > moment), None)


@dataclass
class Row:
    """One row of the matrix being shown."""

    chaos: "Chaos"
    tell: Callable[[str, object], None] = lambda name, value: None
    """A figure of the row, by a name that ends in its unit."""
    began: float = field(default_factory=time.monotonic)
    victims: list[Victim] = field(default_factory=list)

    @property
    def vendors(self) -> Sandbox:
        return self.chaos.vendors

    def victim(self) -> Victim:
        """A call of its own to the agent of victims, not dialed."""
        self.victims.append(self.chaos.victim())
        return self.victims[-1]

    def greeted(self) -> Victim:
        """A victim who has heard the greeting and is about to speak."""
        victim = self.victim()
        victim.dial()
        victim.wait_until_heard(GREETING)
        victim.wait_until_silent(100)
        return victim


class Chaos:
    def __init__(
        self, folder: Path, healthy: int, workers: int = 2, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()
    ) -> None:
        """`host` is what the vendors are called in the server's addresses; `prefix` is as in ServerProcess."""
        self._folder = folder
        self._healthy = healthy
        self._workers = workers
        self._host = host
        self._prefix = prefix
        self.vendors = Sandbox()
        """The victim's."""
        self.openai = ChaosProxy(_NOWHERE)
        self.xai = ChaosProxy(_NOWHERE, f"x-grok-conv-id: {_VICTIM}".encode())
        self.elevenlabs = ChaosProxy(_NOWHERE, b"/victimVoice")
        self.crowd = Crowd([])
        self._proxies = self.openai, self.xai, self.elevenlabs
        # What the server's log holds by the beginning of the row under way.
        self._log_read = 0

    @contextmanager
    def serving(self) -> Iterator["Chaos"]:
        with ExitStack() as stack:
            stack.enter_context(self.vendors)
            for proxy in self._proxies:
                stack.enter_context(proxy)
            self.running = stack.enter_context(self._server())
            healthy = self.running.sandbox
            healthy.xai.answer, healthy.openai.keep_audio = bench_script.answer, False
            for proxy in self._proxies:
                proxy.upstream = ("127.0.0.1", healthy.port)
                proxy.victims_upstream = ("127.0.0.1", self.vendors.port)
            self.workers = Workers(self.running, self._kept)
            self.probe: Probe = stack.enter_context(probing(self.running.server.port, self.workers.pids))
            stack.callback(self._gather())
            self._settle_in()
            yield self

    def _server(self) -> Running:
        agents = self._folder / "agents"
        agents.mkdir()
        for name, lines in _AGENTS.items():
            (agents / f"{name}.toml").write_text(_AGENT % lines)
        environment = {
            "AGENTS_DIR": str(agents),
            "DEFAULT_AGENT": "victim",
            "OPENAI_REALTIME_URL": f"ws://{self._host}:{self.openai.port}/v1/realtime",
            "XAI_BASE_URL": f"http://{self._host}:{self.xai.port}/v1",
            "ELEVENLABS_BASE_URL": f"http://{self._host}:{self.elevenlabs.port}",
            "MAX_CALLS": "100",
        }
        return Running(self._folder, self._workers, self._prefix, **environment)

    def _kept(self) -> set[int]:
        """The server's ports of connections that are kept for requests, whether or not they are still good for any."""
        return {port for proxy in self._proxies for port in proxy.posted}

    def _gather(self) -> Callable[[], None]:
        """The healthy calls; returns how they leave."""
        phones = [self.running.phone(to_number=_HEALTHY_NUMBER, keep_audio=False) for _ in range(self._healthy)]
        self.crowd = Crowd(phones)
        self.crowd.arrive()
        # From now on nobody dials the transcriber but victims.
        self.openai.claims = True
        return self.crowd.leave

    def _settle_in(self) -> None:
        """A first victim pays for what is loaded and kept only once, in each worker; then everything is at its base."""
        self.forget()
        row = Row(self)
        victims = [row.victim() for _ in range(4)]
        for victim in victims:
            victim.dial()
            victim.say_async("Hello to you")
        for victim in victims:
            victim.wait_until_heard("You said: Hello to you")
        self._let_go(row)
        # A phone knows of its end a moment before the server does.
        wait_until(self._victims_are_over, 10, "the victims are over")
        self._base = self.workers.levels()
        self._memory_mb = self.workers.memory_mb()

    def _victims_are_over(self) -> bool:
        everywhere = zip(*(level.registries for level in self.workers.levels()), strict=True)
        return all(sum(registry) == self._healthy for registry in everywhere)

    def victim(self) -> Victim:
        """A call to the agent of victims, not dialed."""
        twilio = self.running.sandbox.twilio
        return Victim(
            server=self.running.server.url,
            account_sid=twilio.account_sid,
            auth_token=twilio.auth_token,
            twilio=twilio,
            call_sid=_VICTIM + secrets.token_hex(12),
        )

    # A row

    def forget(self) -> None:
        """The victim's vendors know nothing of earlier rows and have no fault."""
        for proxy in self._proxies:
            proxy.heal()
            proxy.claimed.clear()
        for stand_in in (self.vendors.openai, self.vendors.xai, self.vendors.elevenlabs):
            stand_in.faults.clear()
            stand_in.delays = Delays()
        self.vendors.openai.sessions.clear()
        self.vendors.xai.requests.clear()
        self.vendors.elevenlabs.sockets.clear()
        self.vendors.xai.answer = echo
        self._log_read = len(self.running.log)

    @contextmanager
    def row(self, tell: Callable[[str, object], None]) -> Iterator[Row]:
        """`tell` takes the name and the value of each common figure."""
        self.forget()
        self.probe.stalls_ms()
        row = Row(self, tell)
        yield row
        try:
            self._tell_of_others(row, tell)
        finally:
            self._let_go(row)
        self._tell_of_the_server(row, tell)

    @contextmanager
    def nobody_asks(self) -> Iterator[None]:
        """The healthy calls listen to what they are told and ask the language model nothing."""
        self.crowd.gate.clear()
        try:
            wait_until(lambda: self.crowd.listens and self._answered(), 20, "nobody asks")
            yield
        finally:
            self.crowd.gate.set()

    def _answered(self) -> bool:
        """The language model has nothing more to say, and what it said has long gone through the proxy."""
        before = time.monotonic() - 1
        asked = self.running.sandbox.xai.requests
        return all(a.cancelled or (a.finished and a.sent_at[-1] < before) for a in asked)

    def _tell_of_others(self, row: Row, tell: Callable[[str, object], None]) -> None:
        stall_ms, machine_late_ms = self.probe.stalls_ms()
        tell("hub_stall_ms", stall_ms)
        tell("machine_late_ms", machine_late_ms)
        tell("calls_beside", len(self.crowd.calls))
        failures = self.crowd.take_failures()
        assert not failures, "\n".join([*failures, *self._trouble()])
        gaps = sorted(self.crowd.gaps_ms(row.began)) or [0.0]
        gap_ms = gaps[int(len(gaps) * 0.999)]
        tell("others_gap_p999_ms", round(gap_ms, 1))
        assert gap_ms <= 40, f"a healthy caller heard nothing for {gap_ms:.0f} ms in an answer; hub {stall_ms} ms"
        if len(self.crowd.calls) >= _MATRIX_CALLS:
            # What the machine's host takes away looks like a hub that stands still.
            assert stall_ms <= 50 + machine_late_ms, f"hub {stall_ms} ms, machine {machine_late_ms} ms late"

    def _let_go(self, row: Row) -> None:
        for victim in row.victims:
            if victim.state != "queued":
                victim.hang_up()
                victim.wait_until_over()
        for proxy in self._proxies:
            proxy.heal()

    def _tell_of_the_server(self, row: Row, tell: Callable[[str, object], None]) -> None:
        began = time.monotonic()
        try:
            wait_until(self._is_at_base, 10, "back to base")
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self._base}, now {self.workers.levels()}") from error
        tell("back_to_base_s", round(time.monotonic() - began, 1))
        before_mb, self._memory_mb = self._memory_mb, self.workers.memory_mb()
        tell("rss_growth_mb", round(self._memory_mb - before_mb, 1))
        if len(self.crowd.calls) >= _MATRIX_CALLS:
            assert self._memory_mb - before_mb < 10, f"{self._memory_mb - before_mb:.1f} MB more than before the row"
        log, trouble = self.running.log[self._log_read :], self._trouble()
        calls, clients = self._names(row, log)
        tell("warnings", sum(any(name in line for name in calls) for line in trouble))
        tell("warnings_without_call", sum(any(name in line for name in clients) for line in trouble))
        print("\n".join(trouble))  # shown when the row fails
        assert secrets_in(self.running.environment, self.running.log_path) == [], "a secret stands in the log"
        assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]

    def _trouble(self) -> list[str]:
        """What the server's log has to complain of since the row began."""
        return [line for line in self.running.log[self._log_read :].splitlines() if _TROUBLE.match(line)]

    def _names(self, row: Row, log: str) -> tuple[list[str], list[str]]:
        """What the victims are called in the log: calls, and the clients that they were before that was known."""
        calls = [victim.call_sid for victim in row.victims]
        started = [line for line in log.splitlines() if " started as " in line and any(sid in line for sid in calls)]
        return calls, [name for line in started for name in re.findall(r"client_\S+", line)]

    def _is_at_base(self) -> bool:
        gevent.sleep(0.1)  # asking costs the workers a moment each time
        now = self.workers.levels()
        there = all(
            level.registries == base.registries
            # Replies to healthy calls come and go.
            and level.greenlets <= base.greenlets + 1 + level.calls // 8
            and level.sockets <= base.sockets
            for level, base in zip(now, self._base, strict=True)
        )
        if there:
            # Connections of the first calls' webhooks were kept for two seconds.
            self._base = [level.lower(base) for level, base in zip(now, self._base, strict=True)]
        return there

"""Twilio's doors: the webhooks of a call, and its stream. Everything here is signed by Twilio or answered with 403."""

import logging
import re
import secrets
import time
from collections.abc import Callable
from functools import partial

from flask import Blueprint, Response, abort, request
from flask_sock import Sock
from simple_websocket import Server

from config.agents import Agent, agent_for
from voice import farewell, registry
from voice.after_call import LOST_SETTLE_S, SETTLE_S, AfterCall
from voice.call import Call
from voice.errors import RecordsUnavailable, VendorError
from voice.recall import Recall
from voice.records.entries import CallEnded, CallRecord
from voice.services import Admission, Opening, Services
from voice.web.gate import Gate, Strangers, refused
from voice.web.shown import shown, stir_verdict
from voice.web.signed import STREAM, only_twilio
from voice.web.tokens import Tokens
from voice.wires import twiml
from voice.wires.caller import Caller, Started
from voice.wires.stream_socket import StreamSocket

BUSY = "All our lines are busy at the moment. Please call again in a few minutes."
MOST_TRIES = 3
"""So often in a row a call is carried on without that its caller gets an answer; then it is given up."""
_ELSEWHERE_S = 2
MOST_UNSTARTED = 50
"""Streams that have not said which call they are for."""
OVER = frozenset(("completed", "busy", "failed", "no-answer", "canceled"))

_SID = re.compile(r"CA[0-9a-fA-F]{32}")
_OUTBOUND = re.compile(r"[0-9a-f]{32}")
_STREAM_NAME = re.compile(r"([0-9]{1,5})-([0-9]{1,5})-[0-9a-f]{16}")

_log = logging.getLogger("voice.web")


class NoReader:
    """Stands in for the thread that flask-sock would read the socket on: our call reads it itself."""

    name = ""

    def __init__(self, target: Callable[[], None]) -> None:
        pass

    def start(self) -> None:
        pass


class TwilioDoors:
    def __init__(
        self,
        services: Services,
        after_call: AfterCall,
        recall: Recall,
        tokens: Tokens,
        gate: Gate,
        max_calls: int,
    ) -> None:
        self._services = services
        self._recall = recall
        self._gate = gate
        self._strangers = Strangers()
        self._after_call = after_call
        self._tokens = tokens
        self._max_calls = max_calls

    def blueprint(self) -> Blueprint:
        doors = Blueprint("twilio", __name__)
        doors.before_request(lambda: only_twilio(self._services.telephone, self._services.public_url))
        for path, view in (
            ("/twilio/voice", self._voice),
            ("/twilio/resume", self._resume),
            ("/twilio/transfer", self._transfer),
            ("/twilio/transfer/whisper", self._whisper),
            ("/twilio/amd", self._amd),
            ("/twilio/status", self._status),
            ("/twilio/stream-status", self._stream_status),
        ):
            doors.add_url_rule(path, view.__name__, view, methods=["POST"])
        Sock().route(STREAM, bp=doors)(self._stream)
        return doors

    # A call begins

    def _voice(self) -> Response:
        call_sid = request.form.get("CallSid", "")
        if registry.draining.is_set():
            return self._elsewhere()
        if registry.is_over(call_sid):
            return _answer(twiml.hang_up())
        if registry.live_calls() >= self._max_calls:
            refused(call_sid, "full", f"{registry.live_calls()} calls are live")
            return _answer(twiml.apology(BUSY))
        outbound = _outbound()
        caller, called = _numbers()
        if not self._gate.let_in(call_sid, caller, bool(outbound)):
            return _answer(twiml.hang_up() if outbound else twiml.apology(BUSY))
        agent = self._agent(outbound)
        # One that we have placed was asked about then.
        if not outbound and not self._services.breaker.admits():
            refused(call_sid, "vendor", f"the {', '.join(self._services.breaker.refusing)} refuses us")
            return _answer(farewell.to_human(self._services.public_url, agent))
        what = "%s: answered by %s, called from %s, agent %s" if outbound else "%s: from %s to %s, agent %s"
        _log.info(what, shown(call_sid), shown(caller), shown(called), agent.name)
        return self._connect(agent, "greeting", outbound)

    def _connect(self, agent: Agent, opening: Opening, outbound: str = "", tries: int = 0, turns: int = 0) -> Response:
        call_sid = request.form.get("CallSid", "")
        if not call_sid:
            abort(400)
        # It comes back with all that Twilio tells of the stream, and with the question what comes behind it.
        name = f"{tries}-{turns}-{secrets.token_hex(8)}"
        admission = Admission(agent.name, *_numbers(), outbound, opening, stir_verdict(request.form), name)
        parameters = self._tokens.parameters(call_sid, admission, tries)
        public_url = self._services.public_url
        return _answer(twiml.stream(public_url, parameters, name))

    def _elsewhere(self) -> Response:
        """This worker is going: the next request reaches another one, or the one that comes after it."""
        url = self._services.public_url + request.full_path.rstrip("?")
        return _answer(twiml.again(_ELSEWHERE_S, url))

    def _agent(self, outbound: str) -> Agent:
        """Of a call that we have placed, the one it was placed for; else the one whose number was called."""
        agents = self._services.agents
        try:
            placed = self._services.records.outbound(outbound) if outbound else None
        except RecordsUnavailable as error:
            _log.error("which agent an outbound call is for cannot be looked up: %s", error)
            placed = None
        if placed and placed.agent in agents:
            return agents[placed.agent]
        return agent_for(agents, _numbers()[1], self._services.default_agent)

    # A call goes on

    def _resume(self) -> Response:
        """Twilio comes here when a stream has ended and its call has not."""
        call_sid = request.form.get("CallSid", "")
        if registry.draining.is_set():
            return self._elsewhere()
        stream_name, tried, turns_then = _stream_name(request.args.get("stream", ""))
        unknown = False
        try:
            kept = self._services.records.call(call_sid)
            # Nobody needs to ask for it any more. Without a name it comes from the number's fallback.
            if behind := stream_name or (kept and kept.stream_name):
                self._services.records.came_back(behind)
        except RecordsUnavailable as error:
            _log.error("%s: its stream was lost, and its records cannot be had: %s", shown(call_sid), error)
            kept, unknown = None, True
        agent = self._agent_of(kept.agent if kept else "")
        # What this worker remembers counts only without a record: another one may have carried the call on since.
        over = registry.is_over(call_sid) if kept is None else kept.ended_at and kept.result in ("completed", "failed")
        # We have asked it back just when it had come back: to the stream that broke off it looked like this.
        interrupted = kept and kept.reason == "caller-hung-up" and "asked" in request.args
        if over and not interrupted:
            return _answer(twiml.hang_up())
        turns = sum(1 for turn in kept.turns if turn.caller) if kept else 0
        tries = 1 if turns > turns_then else tried + 1
        if tries > MOST_TRIES or registry.live_calls() >= self._max_calls:
            _log.error("%s: its stream was lost, try %d: given up", shown(call_sid), tries)
            return _answer(farewell.to_human(self._services.public_url, agent))
        if kept and kept.reason and kept.reason.endswith("-failed"):
            _log.error("%s: a vendor has failed it, and Twilio did not take it off us: now it can", shown(call_sid))
            return _answer(farewell.to_human(self._services.public_url, agent))
        opening = _opening(kept, unknown, agent)
        if opening is None:
            return _answer(twiml.hang_up())
        planned = opening == "continued"
        _log.log(
            logging.INFO if planned else logging.WARNING,
            "%s: %s, try %d: %s",
            shown(call_sid),
            "handed over" if planned else "its stream was lost",
            tries,
            opening,
        )
        return self._connect(agent, opening, tries=tries, turns=turns)

    def _transfer(self) -> Response:
        """What came of dialing a human."""
        call_sid, outcome = request.form.get("CallSid", ""), request.form.get("DialCallStatus", "")
        _log.info("%s: transfer: %s", shown(call_sid), shown(outcome))
        self._services.records.noted(call_sid, "transfer-ended", {"outcome": outcome[:40]})
        failed = "failed" in request.args
        if outcome in ("completed", "answered"):
            if not failed:
                self._services.records.call_updated(call_sid, result="completed", reason="transferred")
            self._after_call.soon(call_sid)
            return _answer(twiml.hang_up())
        agent = self._agent_of(self._kept_agent(call_sid))
        if failed:
            return _answer(twiml.apology(agent.apology))
        return self._connect(agent, "transfer_failed")

    def _whisper(self) -> Response:
        """What the human who answers a transfer hears before the caller is there."""
        call_sid = request.args.get("call", "")
        try:
            checkpoint = self._services.records.load_checkpoint(call_sid) or {}
        except RecordsUnavailable as error:
            _log.error("%s: the summary for the human cannot be had: %s", shown(call_sid), error)
            checkpoint = {}
        transfer = checkpoint.get("transfer")
        return _answer(twiml.say(str(transfer.get("summary", "")) if isinstance(transfer, dict) else ""))

    def _amd(self) -> Response:
        """Whether a human or a machine has answered a call that we have placed; the conversation is under way."""
        call_sid, answered_by = request.form.get("CallSid", ""), request.form.get("AnsweredBy", "")
        self._services.records.call_updated(call_sid, answered_by=answered_by[:40])
        if not answered_by.startswith(("machine", "fax")):
            return Response(status=204)
        outbound = _outbound()
        agent = self._agent(outbound)
        _log.info("%s: a machine has answered (%s)", shown(call_sid), shown(answered_by))
        try:
            if agent.outbound.voicemail and answered_by.startswith("machine"):
                message = self._connect(agent, "message", outbound)
                self._supersede(call_sid, message.get_data(as_text=True))
            elif session := registry.session_of(call_sid):
                session.connection.request_end("machine-answered")
            else:
                self._services.telephone.hang_up(call_sid)
        except VendorError as error:
            _log.error("%s: a machine listens to the agent, and Twilio does not let go: %s", shown(call_sid), error)
        return Response(status=204)

    def _supersede(self, call_sid: str, document: str) -> None:
        """Have the call go on with this document, and the stream in it. Raises VendorError."""
        session = registry.session_of(call_sid)
        if session:
            session.connection.is_superseded = True
        try:
            self._services.telephone.follow(call_sid, document)
        except VendorError:
            if session:
                session.connection.is_superseded = False
            raise

    def _agent_of(self, name: str) -> Agent:
        """The one that held the call, if it is still there."""
        return self._services.agents.get(name) or agent_for(
            self._services.agents, _numbers()[1], self._services.default_agent
        )

    def _kept_agent(self, call_sid: str) -> str:
        try:
            kept = self._services.records.call(call_sid)
        except RecordsUnavailable:
            return ""
        return kept.agent if kept else ""

    # A call is over, or something has happened to it

    def _status(self) -> Response:
        call_sid, status = request.form.get("CallSid", ""), request.form.get("CallStatus", "")
        account = self._services.telephone.account_sid
        if not _SID.fullmatch(call_sid) or request.form.get("AccountSid", account) != account:
            _log.warning("%s: a status of another account's call, or of none: ignored", shown(call_sid))
            return Response(status=204)
        session = registry.session_of(call_sid)
        if status in OVER:
            if session:
                session.connection.request_end("caller-hung-up")
            else:
                self._over_without_us(call_sid, status)
            # A human may have had the call, also one that still closes here.
            self._is_transferred_and_over(call_sid)
            self._recall.forget(call_sid)
            self._after_call.soon(call_sid)
        return Response(status=204)

    def _over_without_us(self, call_sid: str, status: str) -> None:
        """No conversation here tells the end: nobody had answered, or another worker has the call."""
        records = self._services.records
        if status != "completed":
            _log.info("%s: %s", shown(call_sid), shown(status))
        reason = "caller-hung-up" if status == "completed" else "not-answered"
        records.call_ended(call_sid, CallEnded(status, reason, records.clock(), {}, {}), if_open=True)

    def _is_transferred_and_over(self, call_sid: str) -> None:
        try:
            kept = self._services.records.call(call_sid)
        except RecordsUnavailable:
            return
        if kept and kept.result == "transferred":
            self._services.records.call_updated(call_sid, result="completed", reason="transferred")

    def _stream_status(self) -> Response:
        call_sid, event = request.form.get("CallSid", ""), request.form.get("StreamEvent")
        if event in ("stream-error", "stream-stopped"):
            self._recall.soon(call_sid, _stream_name(request.form.get("StreamName", ""))[0])
        if event == "stream-error":
            error = request.form.get("StreamError", "")
            _log.warning("%s: Twilio reports an error of its stream: %s", shown(call_sid), shown(error))
        return Response(status=204)

    def _stream(self, ws: Server) -> None:
        stream = StreamSocket(ws.sock)
        # Ours from here on: flask-sock must not write a close frame of its own behind our last one.
        ws.connected = False
        # It keeps `ws` in a circle, for the collector of garbage: not with all of the request.
        ws.environ, ws.ws = {}, None
        if registry.live_calls() >= self._max_calls:
            stream.close(1013, "too many calls")
            return
        if registry.unstarted() >= MOST_UNSTARTED:
            stream.close(1013, "too many streams that have not begun")
            return
        connection = registry.connect()
        _log.info("%s: stream accepted", connection.client_id)
        call = Call(Caller(stream, connection.client_id), connection, self._services)
        try:
            call.run(partial(self._admit, connection), early=self._strangers.are_few(time.monotonic()))
        finally:
            if not connection.call_sid:
                self._strangers.came(time.monotonic())
            self._look_after(connection)

    def _admit(self, connection: registry.Connection, started: Started) -> Admission:
        admission = self._tokens.admit(started)
        connection.stream_name = admission.stream_name
        return admission

    def _look_after(self, connection: registry.Connection) -> None:
        """A call whose stream is over."""
        call_sid = connection.call_sid
        if not call_sid:
            return
        over = registry.is_over(call_sid)
        if connection.is_untold or not over:
            self._recall.soon(call_sid, connection.stream_name, is_over=connection.is_untold and over)
        self._after_call.soon(call_sid, SETTLE_S if over else LOST_SETTLE_S)


def _numbers() -> tuple[str, str]:
    """The other end's number and ours, whoever has called whom."""
    from_, to = request.form.get("From", ""), request.form.get("To", "")
    return (to, from_) if request.form.get("Direction", "").startswith("outbound") else (from_, to)


def _opening(kept: CallRecord | None, unknown: bool, agent: Agent) -> Opening | None:
    """How a call goes on that has lost its stream; None: not at all."""
    if kept is None:
        # Never begun, or nobody can tell at the moment.
        return "resumed" if unknown else "greeting"
    if (kept.answered_by or "").startswith("machine"):
        return "message" if agent.outbound.voicemail else None
    if kept.result == "transferred":
        return "transfer_failed"
    return "continued" if kept.reason == "drained" and kept.turns else "resumed"


def _outbound() -> str:
    """The id of a call that we have placed, empty otherwise."""
    given = request.args.get("outbound", "")
    return given if _OUTBOUND.fullmatch(given) else ""


def _stream_name(given: str) -> tuple[str, int, int]:
    """The name of a stream of ours, how often its call had lost one by then, and after how many turns."""
    ours = _STREAM_NAME.fullmatch(given)
    return (given, int(ours[1]), int(ours[2])) if ours else ("", 0, 0)


def _answer(document: str) -> Response:
    return Response(document, content_type="text/xml; charset=utf-8")

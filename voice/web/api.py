"""The REST API: place calls, see them, act on live ones. Bearer token; JSON in, JSON out, errors with a code."""

import hmac
import logging
import math
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from config.agents import Agent
from config.faults import suggestion
from voice import farewell, registry
from voice.after_call import record_of
from voice.errors import RecordsUnavailable, VendorError, VendorRefused
from voice.records.entries import CallEnded, CallRecord, CallStarted, Outbound
from voice.services import FROM_BROWSER, Services
from voice.spending import Spending
from voice.web.outbound_limits import OutboundLimits
from voice.wires.telephone import OutboundCall

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_SID = re.compile(r"CA[0-9a-f]{32}")
_LONGEST_PARAMETER = 500
_MOST_LISTED = 200
_QUERY = ("limit", "before", "agent", "caller", "live")

_log = logging.getLogger("voice.web")


class Api:
    def __init__(
        self,
        services: Services,
        token: str | None,
        phone_number: str | None,
        limits: OutboundLimits,
        spending: Spending,
    ) -> None:
        """Without a `token` nobody gets in; `phone_number` is the caller id of the calls that are placed."""
        self._limits = limits
        self._spending = spending
        self._services = services
        self._token = token
        self._phone_number = phone_number

    def blueprint(self) -> Blueprint:
        doors = Blueprint("api", __name__, url_prefix="/api")
        doors.before_request(self._only_with_token)
        doors.register_error_handler(RecordsUnavailable, _records_unavailable)
        doors.register_error_handler(413, _too_large)
        doors.add_url_rule("/calls", view_func=self._place, methods=["POST"])
        doors.add_url_rule("/calls", view_func=self._list, methods=["GET"])
        doors.add_url_rule("/calls/<call_sid>", view_func=self._show, methods=["GET"])
        doors.add_url_rule("/calls/<call_sid>", view_func=self._delete, methods=["DELETE"])
        doors.add_url_rule("/calls/<call_sid>/hangup", view_func=self.hang_up, methods=["POST"])
        doors.add_url_rule("/calls/<call_sid>/transfer", view_func=self.transfer, methods=["POST"])
        return doors

    def _only_with_token(self) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        known = self._token is not None and hmac.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() != "bearer" or not known:
            _refuse(401, "unauthorized", "a bearer token is needed: Authorization: Bearer <API_TOKEN>")

    # Placing calls

    def _place(self) -> tuple[Response, int]:
        """`{"to": "+15551234567", "agent": "name", "parameters": {"first_name": "Ann"}}` -> 201 `{"call_sid": …}`"""
        body = _body("to", "agent", "parameters")
        to, agent = self._callee(body), self._agent(body)
        parameters = _parameters(body, agent)
        if self._phone_number is None:
            _refuse(400, "no_caller_id", "TWILIO_PHONE_NUMBER is not set: there is no number to call from")
        if to == self._phone_number or not self._limits.allow(to):
            _refuse(403, "number_not_allowed", f"{to} may not be called: see OUTBOUND_PREFIXES")
        if self._spending.exhausted:
            _refuse(429, "budget_exhausted", "the calls of the last 24 hours have used up COST_PER_DAY")
        if not self._services.breaker.admits():
            refusing = ", ".join(self._services.breaker.refusing)
            _refuse(503, "vendor_refuses", f"who answers would hear an apology: our account is refused by {refusing}")
        placed = Outbound(secrets.token_hex(16), to, agent.name, parameters)
        records = self._services.records
        # Before Twilio knows of it: whoever answers at once must find it.
        if reached := self._limits.place(records, placed):
            _log.error("a call to %s is not placed: the limit of %s is reached", to, reached)
            _refuse(429, "too_many_calls", f"the limit of {reached} is reached")
        call_sid = self._dial(placed)
        records.outbound_placed(Outbound(placed.id, to, agent.name, parameters, call_sid))
        return jsonify(call_sid=call_sid, to=to, agent=agent.name, status="queued"), 201

    def _callee(self, body: Mapping[str, Any]) -> str:
        to = body.get("to")
        if not isinstance(to, str) or not _NUMBER.fullmatch(to):
            _refuse(400, "invalid_number", "to has to be a number in E.164 form such as +15551234567")
        return to

    def _agent(self, body: Mapping[str, Any]) -> Agent:
        name = body.get("agent", self._services.default_agent)
        agents = self._services.agents
        if not isinstance(name, str) or name not in agents:
            near = suggestion(str(name)[:100], list(agents))
            _refuse(400, "unknown_agent", f"there is no agent {str(name)[:100]!r}{near}; there are {', '.join(agents)}")
        return agents[name]

    def _dial(self, placed: Outbound) -> str:
        public_url, asked = self._services.public_url, f"?outbound={placed.id}"
        assert self._phone_number is not None
        call = OutboundCall(
            placed.to,
            self._phone_number,
            url=f"{public_url}/twilio/voice{asked}",
            status_url=f"{public_url}/twilio/status{asked}",
            machine_detection_url=f"{public_url}/twilio/amd{asked}",
        )
        try:
            call_sid = self._services.telephone.place(call)
        except VendorError as error:
            _log.warning("a call to %s is not placed: %s", placed.to, error)
            refused = isinstance(error, VendorRefused)
            _refuse(422 if refused else 503, "refused_by_twilio" if refused else "twilio_unavailable", error.detail)
        _log.info("%s: to %s, agent %s, placed by the API", call_sid, placed.to, placed.agent)
        started = CallStarted(
            call_sid,
            "outbound",
            placed.agent,
            placed.to,
            self._phone_number,
            self._services.records.clock(),
            placed.parameters,
        )
        self._services.records.call_started(started)
        return call_sid

    # Seeing them

    def _list(self) -> Response:
        """?limit=50&before=<started_at>&agent=&caller=&live=true: the latest first."""
        asked = request.args
        if unknown := next((name for name in asked if name not in _QUERY), None):
            near = suggestion(unknown[:100], _QUERY)
            _refuse(400, "unknown_query", f"{unknown[:100]!r} is not asked for{near}; there are {', '.join(_QUERY)}")
        if any("\0" in value for value in asked.values()):
            _refuse(400, "invalid_query", "a query cannot hold NUL")
        limit = asked.get("limit", "50")
        if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_LISTED:
            _refuse(400, "invalid_limit", f"limit has to be a whole number from 1 to {_MOST_LISTED}")
        try:
            before = float(asked["before"]) if "before" in asked else None
            if before is not None and not math.isfinite(before):
                raise ValueError
        except ValueError:
            _refuse(400, "invalid_before", "before has to be the started_at of a call")
        live = {"true": True, "false": False, None: None}.get(asked.get("live"), "")
        if isinstance(live, str):
            _refuse(400, "invalid_live", "live has to be true or false")
        calls = self._services.records.calls(int(limit), before, asked.get("agent"), asked.get("caller"), live)
        return jsonify(calls=[_without_turns(record_of(call)) for call in calls])

    def _show(self, call_sid: str) -> Response:
        call = self._services.records.call(call_sid_of(call_sid))
        if call is None:
            _refuse(404, "unknown_call", f"there is no record of {call_sid}")
        told = record_of(call)
        if session := registry.session_of(call_sid):
            told["floor"] = session.conversation.floor
        return jsonify(told)

    def _delete(self, call_sid: str) -> tuple[str, int]:
        """All that is kept of a call that is over: record, turns, events, webhooks that wait, its log."""
        kept = self._services.records.call(call_sid_of(call_sid))
        if registry.session_of(call_sid) or (kept and kept.ended_at is None):
            _refuse(409, "call_is_live", f"{call_sid} is live: hang it up first")
        log = self._services.call_log_dir / f"{call_sid}.jsonl"
        if not self._services.records.delete_call(call_sid) and not log.exists():
            _refuse(404, "unknown_call", f"there is no record of {call_sid}")
        self._services.recordings.delete(call_sid)
        log.unlink(missing_ok=True)
        return "", 204

    # Acting on live ones

    def hang_up(self, call_sid: str) -> Response:
        """Whichever worker holds it."""
        if session := _talking(call_sid_of(call_sid)):
            session.connection.request_end("operator-hung-up")
        elif self._kept_live(call_sid).caller.startswith(FROM_BROWSER):
            # The worker that holds it reads so in the records within two seconds.
            records = self._services.records
            ended = CallEnded("completed", "operator-hung-up", records.clock(), {}, {})
            records.call_ended(call_sid, ended, if_open=True)
        else:
            self._tell_twilio(call_sid, lambda: self._services.telephone.hang_up(call_sid))
        return jsonify(call_sid=call_sid, status="ending")

    def transfer(self, call_sid: str) -> Response:
        """`{"to": "desk"}`: one of the names in the agent's file. The agent stops in the middle of a word."""
        to = _body("to").get("to")
        agent = self._services.agents.get(self._live(call_sid_of(call_sid)))
        if agent is None or not isinstance(to, str) or to not in agent.transfer.to:
            allowed = ", ".join(agent.transfer.to) if agent else ""
            _refuse(400, "unknown_target", f"to has to be a name on the agent's list: {allowed or 'it has none'}")
        if session := _talking(call_sid):
            session.connection.request_transfer(to)
        else:
            document = farewell.transfer(self._services.public_url, agent, agent.transfer.to[to])
            # Before the stream stops: to the worker that holds the call this looks as if the caller had rung off.
            self._services.records.call_updated(call_sid, result="transferred", reason="operator-transferred")
            try:
                self._tell_twilio(call_sid, lambda: self._services.telephone.follow(call_sid, document))
            except HTTPException:
                self._services.records.call_updated(call_sid, result=None, reason=None)
                raise
        return jsonify(call_sid=call_sid, status="transferring", to=to)

    def _live(self, call_sid: str) -> str:
        """The agent that holds the call."""
        if session := _talking(call_sid):
            return str(session.agent.name)
        return self._kept_live(call_sid).agent

    def _kept_live(self, call_sid: str) -> CallRecord:
        """One that another worker holds."""
        call = self._services.records.call(call_sid)
        if call is None:
            _refuse(404, "unknown_call", f"there is no record of {call_sid}")
        # One that was transferred is over for the agent; the caller is still on the line.
        if call.ended_at is not None and call.result != "transferred":
            _refuse(409, "call_is_over", f"{call_sid} is over: {call.result}, {call.reason}")
        return call

    def _tell_twilio(self, call_sid: str, tell: Callable[[], bool | None]) -> None:
        try:
            known = tell()
        except VendorError as error:
            _refuse(502, "twilio_failed", error.detail)
        if known is False:
            _refuse(409, "call_is_over", f"{call_sid}: Twilio does not have it, or has it no more")


def register_api_errors(app: Flask) -> None:
    """What is not even a door of the API is answered in its way too."""

    def told(error: HTTPException) -> ResponseReturnValue:
        if not request.path.startswith("/api/"):
            return error
        code = str(error.name).lower().replace(" ", "_")
        return jsonify(error=code, message=str(error.description)), int(error.code or 500)

    for status in (404, 405):
        app.register_error_handler(status, told)


def call_sid_of(call_sid: str) -> str:
    """As it is, if it can be one."""
    if not _SID.fullmatch(call_sid):
        _refuse(404, "unknown_call", "a call's sid is CA and 32 hexadecimal digits")
    return call_sid


def _talking(call_sid: str) -> registry.CallSession | None:
    """The session here that can still be asked for something; one that closes does not listen any more."""
    session = registry.session_of(call_sid)
    return session if session and session.connection.state is not registry.State.CLOSING else None


def _body(*known: str) -> Mapping[str, Any]:
    if (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]:
        abort(413)
    if not request.is_json:
        _refuse(415, "unsupported_media_type", "the body has to be JSON, its Content-Type application/json")
    try:
        body = request.get_json(silent=True)
    except RecursionError:
        body = None
    if not isinstance(body, dict):
        _refuse(400, "invalid_json", "the body has to be a JSON object")
    for name in body:
        if name not in known:
            near = suggestion(name[:100], known)
            _refuse(400, "unknown_field", f"{name[:100]!r} is no field{near}; there are {', '.join(known)}")
    return body


def _parameters(body: Mapping[str, Any], agent: Agent) -> dict[str, str]:
    given = body.get("parameters", {})
    if not isinstance(given, dict):
        _refuse(400, "invalid_parameters", "parameters has to be an object of texts")
    for name, value in given.items():
        if name not in agent.parameters:
            has = ", ".join(agent.parameters) or "none"
            _refuse(400, "unknown_parameter", f"agent {agent.name} has no parameter {name[:100]!r}; it has {has}")
        fits = isinstance(value, str) and len(value) <= _LONGEST_PARAMETER
        if not fits or any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
            what = f"a text of at most {_LONGEST_PARAMETER} characters without control characters"
            _refuse(400, "invalid_parameter", f"{name} has to be {what}")
    return dict(given)


def _without_turns(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in ("turns", "events")}


def _refuse(status: int, code: str, message: str) -> NoReturn:
    abort(make_response(jsonify(error=code, message=message), status))


def _too_large(error: Exception) -> tuple[Response, int]:
    return jsonify(error="too_large", message="the body has to be below 64 kB"), 413


def _records_unavailable(error: Exception) -> tuple[Response, int]:
    _log.error("the API cannot answer: %s", error)
    return jsonify(error="records_unavailable", message="the database does not answer; try again"), 503

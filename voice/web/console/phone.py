"""The browser phone: a page, a token for one call, and a stream of Twilio's own messages into the same call as any.

Only Twilio's REST API is not there for it: such a call is hung up by closing its stream.
"""

import logging
import secrets

from flask import Blueprint, Response, abort, jsonify, render_template, request
from flask_sock import Sock
from simple_websocket import Server

from voice import registry
from voice.after_call import AfterCall
from voice.call import Call
from voice.errors import CallRefused, VendorRefused
from voice.services import FROM_BROWSER, Admission, Services
from voice.web.console import guard
from voice.web.console.sessions import Session
from voice.web.tokens import Tokens
from voice.wires.caller import Caller, Started
from voice.wires.stream_socket import StreamSocket

MOST_UNSTARTED = 10

_log = logging.getLogger("voice.web")


class BrowserLine:
    """What Twilio's REST API does for other calls, as far as a browser can: to end one is to close its stream."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def hang_up(self, call_sid: str) -> None:
        self._caller.close(1000, "The agent has hung up.")

    def apologize(self, call_sid: str, text: str) -> None:
        self._caller.close(1000, text)

    def follow(self, call_sid: str, document: str) -> bool:
        self._caller.close(1000, "The agent puts the call through. In the browser it ends here.")
        return True

    def send_sms(self, from_: str, to: str, text: str) -> None:
        raise VendorRefused("telephone", "a browser takes no text messages")


class PhoneDoors:
    def __init__(self, services: Services, after_call: AfterCall, tokens: Tokens, max_calls: int) -> None:
        """`tokens` have a secret of their own: nobody who can open Twilio's stream opens this one with it."""
        self._services = services
        self._after_call = after_call
        self._tokens = tokens
        self._max_calls = max_calls

    def add_to(self, doors: Blueprint) -> None:
        doors.add_url_rule("/phone", "phone", self._page, methods=["GET"])
        doors.add_url_rule("/phone/calls", "phone_call", self._new_call, methods=["POST"])
        Sock().route(guard.STREAM.removeprefix("/console"), bp=doors)(self._stream)

    def _page(self) -> str:
        agents = sorted(self._services.agents)
        return render_template("console/phone.html", agents=agents, default=self._services.default_agent)

    def _new_call(self) -> Response:
        """`{"agent": "name"}` -> what a stream of this session needs to begin, once, within a minute."""
        body = request.get_json(silent=True)
        agent = body.get("agent") if isinstance(body, dict) else None
        if agent not in self._services.agents:
            abort(404)
        call_sid = "CA" + secrets.token_hex(16)
        admission = Admission(str(agent), _caller(guard.session()), "")
        return jsonify(call_sid=call_sid, parameters=self._tokens.parameters(call_sid, admission))

    def _stream(self, ws: Server) -> None:
        session = guard.session()
        stream = StreamSocket(ws.sock)
        # Ours from here on: flask-sock must not write a close frame of its own behind our last one.
        ws.connected = False
        if registry.draining.is_set() or registry.live_calls() >= self._max_calls:
            stream.close(1013, "This worker takes no more calls. Try again.")
            return
        if registry.unstarted() >= MOST_UNSTARTED:
            stream.close(1013, "Too many streams have not begun.")
            return
        connection = registry.connect()
        _log.info("%s: stream of a browser accepted", connection.client_id)
        caller = Caller(stream, connection.client_id)
        call = Call(caller, connection, self._services, BrowserLine(caller))
        call.run(lambda started: self._admit(started, session), early=True)
        if connection.call_sid:
            self._after_call.soon(connection.call_sid)

    def _admit(self, started: Started, session: Session) -> Admission:
        admission = self._tokens.admit(started)
        if admission.caller_number != _caller(session):
            raise CallRefused("the stream's token belongs to another session")
        return admission


def _caller(session: Session) -> str:
    """Stands in the records where the number stands."""
    return f"{FROM_BROWSER}{session.id[:8]}"

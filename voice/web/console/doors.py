"""The console's doors: log-in, the live page, past calls, one call, its downloads, and the buttons."""

import logging
import math
import re
import time
from collections.abc import Iterator
from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from flask.typing import ResponseReturnValue

from voice import registry
from voice.after_call import record_of
from voice.core import anonymous
from voice.errors import RecordsUnavailable
from voice.records.entries import CallRecord
from voice.records.records import Records
from voice.records.search import Place, Search, day
from voice.services import Services
from voice.web.api import Api
from voice.web.console import chart, exports, guard, shown
from voice.web.console.live import Live, TooManyViewers
from voice.web.console.phone import PhoneDoors
from voice.web.console.sessions import Sessions, Tries
from voice.web.console.told import story_of
from voice.web.shown import peer
from voice.web.signed import form_in_time

PAGE = 50
_MOST_EXPORTED = 100_000
_A_LINE = 200
_QUERY = ("number", "agent", "since", "until", "reason", "words")
_SID = re.compile(r"CA[0-9a-f]{32}")
_SEND_S = 10.0
"""A page that does not take its events for so long is not there any more."""

_log = logging.getLogger("voice.web")


class Console:
    def __init__(self, services: Services, records: Records, api: Api, live: Live, sessions: Sessions) -> None:
        """`records` are the same that the calls write to, over another connection: a search may take its time."""
        self._records = records
        self._services = services
        self._api = api
        self._live = live
        self._sessions = sessions
        self._tries = Tries()

    def blueprint(self, phone: PhoneDoors) -> Blueprint:
        doors = Blueprint(
            "console",
            __name__,
            url_prefix="/console",
            template_folder="templates",
            static_folder="static",
            static_url_path="/static",
        )
        doors.before_request(guard.Guard(self._sessions, self._services.public_url).check)
        doors.after_request(guard.headers)
        doors.register_error_handler(RecordsUnavailable, _records_unavailable)
        doors.register_error_handler(404, _not_found)
        for path, view in (
            ("", self.live),
            ("/events", self.events),
            ("/calls", self.calls),
            ("/calls.csv", self.calls_csv),
            ("/calls/<call_sid>", self.call),
            ("/calls/<call_sid>/call.json", self.call_json),
            ("/calls/<call_sid>/log.jsonl", self.call_log),
            ("/calls/<call_sid>/case.jsonl", self.call_case),
            ("/calls/<call_sid>/recording.wav", self.recording),
        ):
            doors.add_url_rule(path, view.__name__, view, methods=["GET"])
        doors.add_url_rule("/login", "log_in", self.log_in, methods=["POST"])
        doors.add_url_rule("/logout", "log_out", self.log_out, methods=["POST"])
        doors.add_url_rule("/calls/<call_sid>/hangup", "hang_up", self._api.hang_up, methods=["POST"])
        doors.add_url_rule("/calls/<call_sid>/transfer", "transfer", self._api.transfer, methods=["POST"])
        phone.add_to(doors)
        return doors

    # In and out

    def log_in(self) -> ResponseReturnValue:
        form, address = form_in_time(), peer()
        then = guard.then(form.get("then", ""))
        if not self._tries.are_left(address):
            wrong = "Too many tries. Wait a minute."
            return render_template("console/login.html", then=then, wrong=wrong), 429
        cookie = self._sessions.log_in(form.get("token", ""))
        if cookie is None:
            self._tries.failed(address)
            _log.warning("console: a log-in with a wrong token: %s", address)
            return render_template("console/login.html", then=then, wrong="That is not the token."), 401
        response = make_response(redirect(then, 303))
        guard.keep(response, cookie)
        return response

    def log_out(self) -> ResponseReturnValue:
        response = make_response(redirect("/console", 303))
        guard.forget(response)
        return response

    # Live

    def live(self) -> str:
        return render_template(
            "console/live.html", picture=self._live.picture(), chart=chart, shown=shown, now=time.time()
        )

    def events(self) -> ResponseReturnValue:
        try:
            viewer = self._live.follow(guard.session().until)
        except TooManyViewers:
            return jsonify(error="too_many_viewers", message="too many pages are open: close some"), 503
        if sock := request.environ.get("gunicorn.socket"):
            # It would hold its connection for good otherwise.
            sock.settimeout(_SEND_S)
        response = Response(viewer, mimetype="text/event-stream")
        response.call_on_close(viewer.close)
        # nginx would keep the events until it has a page full of them.
        response.headers["X-Accel-Buffering"] = "no"
        return response

    # Past calls

    def calls(self) -> str:
        wanted, after = _wanted(), _after()
        records = self._records
        found = records.find(wanted, PAGE + 1, after)
        query = {name: value for name, value in request.args.items() if name in _QUERY and value}
        page, last = found[:PAGE], found[PAGE - 1] if len(found) > PAGE else None
        return render_template(
            "console/calls.html",
            calls=page,
            wanted=request.args,
            query=query,
            older=query | {"at": repr(last.started_at), "sid": last.call_sid} if last else None,
            is_first=after is None,
            agents=sorted(self._services.agents),
            reasons=records.reasons(),
            shown=shown,
        )

    def calls_csv(self) -> Response:
        lines = exports.rows(self._all(_wanted()))
        # The first page at once: without the database an error can still be told.
        first = next(lines)
        response = Response(_prefixed(first, lines), mimetype="text/csv")
        response.headers["Content-Disposition"] = 'attachment; filename="calls.csv"'
        return response

    def _all(self, wanted: Search) -> Iterator[CallRecord]:
        after: Place | None = None
        for _ in range(_MOST_EXPORTED // _A_LINE):
            page = self._records.find(wanted, _A_LINE, after)
            yield from page
            if len(page) < _A_LINE:
                return
            after = page[-1].started_at, page[-1].call_sid

    # One call

    def call(self, call_sid: str) -> str:
        call = self._kept(call_sid)
        told = story_of(call, self._services.agents)
        session = registry.session_of(call_sid)
        return render_template(
            "console/call.html",
            call=call,
            story=told,
            turns=[(turn, shown.waterfall(turn)) for turn in told.turns],
            ending=shown.ending(call),
            happenings=shown.happenings(told),
            transfers=self._transfers(call),
            has_log=self._log(call_sid).exists(),
            recording=self._recording_url(call),
            live=call.ended_at is None,
            held_here=session is not None,
            shown=shown,
        )

    def call_json(self, call_sid: str) -> Response:
        response = jsonify(record_of(self._kept(call_sid)))
        response.headers["Content-Disposition"] = f'attachment; filename="{call_sid}.json"'
        return response

    def call_log(self, call_sid: str) -> ResponseReturnValue:
        log = self._log(_sid(call_sid))
        if not log.exists():
            abort(404)
        return send_file(log.absolute(), "application/jsonl", as_attachment=True, download_name=log.name)

    def call_case(self, call_sid: str) -> ResponseReturnValue:
        """The log with personal data replaced: a test, once it is put into tests/calls."""
        log = self._log(_sid(call_sid))
        if not log.exists():
            abort(404)
        with log.open(encoding="utf-8") as lines:
            case = anonymous.case(lines)
        response = Response("".join(line + "\n" for line in case.lines), mimetype="application/jsonl")
        response.headers["Content-Disposition"] = f'attachment; filename="{case.name}.jsonl"'
        return response

    def recording(self, call_sid: str) -> ResponseReturnValue:
        path = self._services.recordings.find(_sid(call_sid))
        if path is None:
            abort(404)
        # Asked for in parts: a player begins where the listener wants it to.
        return send_file(path.absolute(), "audio/wav", conditional=True, download_name=path.name)

    def _recording_url(self, call: CallRecord) -> str | None:
        # While it grows a player would take what it has found for all of it.
        there = call.ended_at is not None and self._services.recordings.find(call.call_sid)
        return url_for("console.recording", call_sid=call.call_sid) if there else None

    def _kept(self, call_sid: str) -> CallRecord:
        call = self._records.call(_sid(call_sid))
        if call is None:
            abort(404)
        return call

    def _log(self, call_sid: str) -> Any:
        return self._services.call_log_dir / f"{call_sid}.jsonl"

    def _transfers(self, call: CallRecord) -> list[str]:
        agent = self._services.agents.get(call.agent)
        return list(agent.transfer.to) if agent else []


def _sid(call_sid: str) -> str:
    return call_sid if _SID.fullmatch(call_sid) else abort(404)


def _wanted() -> Search:
    """What the query asks for; what makes no sense in it is not asked for."""
    given = {name: value.strip()[:_A_LINE].replace("\0", "") for name, value in request.args.items()}
    return Search(
        number=given.get("number", ""),
        agent=given.get("agent", ""),
        since=day(given.get("since", "")),
        until=day(given.get("until", ""), 1),
        reason=given.get("reason", ""),
        words=given.get("words", ""),
    )


def _after() -> Place | None:
    try:
        at = float(request.args.get("at", ""))
    except ValueError:
        return None
    return (at, request.args.get("sid", "")[:_A_LINE].replace("\0", "")) if math.isfinite(at) else None


def _prefixed(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _records_unavailable(error: Exception) -> ResponseReturnValue:
    if request.method == "POST":
        return jsonify(error="records_unavailable", message="the database does not answer; try again"), 503
    return render_template(
        "console/wrong.html", title="No answer", words="The database does not answer. Try again."
    ), 503


def _not_found(error: Exception) -> ResponseReturnValue:
    return render_template(
        "console/wrong.html", title="Not found", words="There is no such page, or nothing kept of it."
    ), 404

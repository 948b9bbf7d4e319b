"""The way of a call from outside to this deployment: the public URL, its proxy, the signature, and the upgrade."""

import os
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import certifi
import requests
import websocket
from twilio.request_validator import RequestValidator

from voice.commands.checks.finding import Finding, Patient, failed, ok, warning
from voice.commands.kept import file_of
from voice.errors import RecordsUnavailable
from voice.records.database import Database
from voice.records.queries import has_come_back

CALL_SID = "CA" + "0" * 32
"""Of nobody: in the server's log these lines are the doctor's."""
_TIMEOUT_S = 8.0
_WRITTEN_S = 5.0
"""The server writes to the database behind its answer."""
_LOOK_S = 0.1
_RESUME = "/twilio/resume"
_STREAM = "/twilio/stream"
_FORM = {"CallSid": CALL_SID, "CallStatus": "in-progress", "From": "doctor", "To": "doctor"}
_SIGNED_AS = (
    "PUBLIC_URL and TWILIO_AUTH_TOKEN have to be the server's, and a proxy must leave path and query as they are"
)


@dataclass(frozen=True)
class Way:
    """To the server, with Twilio's signature as if the request had come over the public URL."""

    public_url: str
    auth_token: str
    via: str | None

    def post(self, target: str, form: Mapping[str, str], signed: bool) -> requests.Response:
        """Raises requests.RequestException."""
        headers = self._headers(self.public_url + target, form) if signed else self._host()
        url = (self.via or self.public_url) + target
        return requests.post(url, data=form, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False)

    def upgrade(self) -> None:
        """Opens the stream, and leaves before it begins. Raises websocket.WebSocketException or OSError."""
        base = (self.via or self.public_url).replace("http", "ws", 1)
        headers = self._headers(self.public_url.replace("https://", "wss://", 1) + _STREAM, {})
        opened = websocket.create_connection(
            base + _STREAM,
            timeout=_TIMEOUT_S,
            header=headers,
            host=headers.pop("Host", None),
            suppress_origin=True,
            redirect_limit=0,
            http_proxy_host="none",
            http_no_proxy=["*"],
            # As requests does it.
            sslopt={
                "context": ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where())
            },
        )
        opened.send_close()
        opened.shutdown()  # type: ignore[no-untyped-call]

    def _host(self) -> dict[str, str]:
        return {"Host": urlsplit(self.public_url).netloc} if self.via else {}

    def _headers(self, url: str, form: Mapping[str, str]) -> dict[str, str]:
        signature = RequestValidator(self.auth_token).compute_signature(url, dict(form))
        return {"X-Twilio-Signature": str(signature), **self._host()}


def way(patient: Patient) -> Way:
    return Way(patient.settings.public_url, patient.settings.twilio_auth_token, patient.via)


def outside(patient: Patient) -> list[Finding]:
    reached = _deployment(patient)
    if reached.state == "failed":
        # Of a server that is not there, or not ours, the rest says nothing.
        return [reached]
    return [reached, _unsigned(way(patient)), _upgrade(way(patient))]


def _deployment(patient: Patient) -> Finding:
    """A signed request says a nonce that the server writes into its database: it is ours if ours has it."""
    what, nonce = "public URL", f"0-0-{secrets.token_hex(8)}"
    url = patient.settings.public_url
    try:
        answer = way(patient).post(f"{_RESUME}?stream={nonce}", _FORM, signed=True)
    except requests.RequestException as error:
        return failed(what, f"{url} cannot be reached: {_words(error)}", _beside(patient))
    if answer.status_code == 403:
        return failed("signature", f"{url} refuses a request that is signed as Twilio signs", _SIGNED_AS)
    if answer.status_code != 200 or "<Response" not in answer.text:
        return failed(what, f"{url} answers {answer.status_code}, which is not this server", _beside(patient))
    if "<Connect" not in answer.text and "<Pause" in answer.text:
        return warning(what, f"{url} reaches a server that is going", "wait until the next one is there, and ask again")
    try:
        if _written(patient.settings.database_url, nonce):
            return ok(what, f"{url} reaches this deployment; a signed request passes")
    except RecordsUnavailable as error:
        why = f"{url} reaches a server; whether it is this one the database does not tell: {error}"
        return warning(what, why, "see the database")
    why = f"{url} reaches a server with this account's token and another database than DATABASE_URL says here"
    return failed(what, why, "another deployment has this address, or this shell has not the server's environment")


def _written(url: str, nonce: str) -> bool:
    path = file_of(url)
    if path is not None and not path.exists():
        return False
    # Without its preparation: to look at a database is not to change it.
    asked = Database(url)
    deadline = time.monotonic() + _WRITTEN_S
    try:
        while not (found := asked.read(partial(has_come_back, stream_name=nonce), _TIMEOUT_S)):
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
        return found
    finally:
        asked.close(1.0)


def _beside(patient: Patient) -> str:
    """Whether the server itself answers, so that it is the way there that is broken."""
    here = f"http://127.0.0.1:{patient.settings.port}"
    if patient.via:
        return "is it running there?"
    beside = Way(patient.settings.public_url, patient.settings.twilio_auth_token, here)
    try:
        answer = beside.post(_RESUME, _FORM, signed=True)
    except requests.RequestException:
        return f"nor does anybody answer at {here}: is the server running, and does the name lead to this machine?"
    if answer.status_code != 200:
        return f"at {here} there is an answer, too, {answer.status_code}: is that the server?"
    return f"the server does answer at {here}: look at the name, the proxy, the firewall and the certificate"


def _unsigned(asked: Way) -> Finding:
    what = "unsigned requests"
    try:
        answers = [asked.post("/twilio/voice", _FORM, signed=False)]
        # And one with a signature of another address.
        forged = Way(asked.public_url + "/forged", asked.auth_token, asked.via or asked.public_url)
        answers.append(forged.post("/twilio/voice", _FORM, signed=True))
    except requests.RequestException as error:
        return failed(what, _words(error), "ask again")
    codes = [answer.status_code for answer in answers]
    if codes == [403, 403]:
        return ok(what, "are refused with 403, through the proxy")
    said = " and ".join(map(str, codes))
    return failed(
        what, f"are answered {said} in the place of 403", "what answers there is not this server, or a proxy is"
    )


def _upgrade(asked: Way) -> Finding:
    what = "WebSocket"
    todo = "the proxy has to pass Upgrade and Connection on, over HTTP/1.1: deploy/nginx.conf, deploy/Caddyfile"
    try:
        asked.upgrade()
    except websocket.WebSocketBadStatusException as error:
        if error.status_code == 403:
            return failed(what, f"{_STREAM} refuses a signed handshake", _SIGNED_AS)
        return failed(what, f"{_STREAM} answers {error.status_code} to a signed handshake", todo)
    except (websocket.WebSocketException, OSError) as error:
        return failed(what, f"{_STREAM}: {_words(error)}", todo)
    return ok(what, f"{_STREAM} is upgraded, through the proxy")


def _words(error: Exception) -> str:
    """The innermost reason, without the library's tower around it."""
    said = str(error)
    for sign, words in (
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not good: "),
        ("NameResolutionError", "nobody knows its name"),
        ("Name or service not known", "nobody knows its name"),
        ("Connection refused", "nobody listens there"),
        ("timed out", f"no answer within {_TIMEOUT_S:.0f} s"),
    ):
        if sign in said:
            detail = said.rpartition("verify failed: ")[2].partition(" (_ssl")[0] if sign.startswith("CERT") else ""
            return words + detail
    return f"{type(error).__name__}: {said[:200]}"

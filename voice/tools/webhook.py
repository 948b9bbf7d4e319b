"""A tool that is an HTTP request of the operator's: the model's arguments become part of it, the answer a result.

The host, the path's shape and the headers are the operator's; arguments only fill what was left open for them.
"""

import logging
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from config.tools import WebhookTool
from voice.errors import VendorUnavailable
from voice.tools.exchange import LONGEST_BODY, Answer, Exchange, Request

LONGEST_TEXT = 4000
"""Characters of an answer that the model gets."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Servers decode a path before they split it, so these would lead to another one, percent-encoded or not.
_NOT_IN_A_PATH = re.compile(r"[/\\\x00-\x1f\x7f]")
_log = logging.getLogger(__name__)


class ArgumentRefused(Exception):
    """An argument cannot stand where the address has a place for it; the message is for the model."""


def run(name: str, tool: WebhookTool, arguments: Mapping[str, Any], call_sid: str, call_id: str) -> str:
    """Make the request once, whatever comes of it; JSON for the model, `{"status", "body"}` or `{"error"}`.

    `arguments` were checked against the tool's schema. Takes at most the tool's time limit.
    """
    began = time.monotonic()
    try:
        answer = Exchange(request(tool, arguments, call_sid, call_id), tool.timeout_s, tool.allow_private).run()
    except ArgumentRefused as error:
        return _json({"error": str(error)})
    except VendorUnavailable as error:
        _log.warning("%s: webhook %s: %s, after %.2f s", call_sid, name, error.detail, time.monotonic() - began)
        return _json({"error": f"{error.detail}{_doubt(tool)}"})
    level = logging.WARNING if answer.status >= 400 else logging.INFO
    _log.log(level, "%s: webhook %s: %d in %.2f s", call_sid, name, answer.status, time.monotonic() - began)
    return _json(_told(answer))


def request(tool: WebhookTool, arguments: Mapping[str, Any], call_sid: str, call_id: str) -> Request:
    """What is sent. Raises ArgumentRefused."""
    placed = set(_PLACEHOLDER.findall(tool.url))
    rest = {name: value for name, value in arguments.items() if name not in placed}
    url = _address(tool.url, arguments)
    accepted = {} if "accept" in map(str.lower, tool.headers) else {"Accept": "application/json"}
    headers = {
        **accepted,
        **tool.headers,
        "X-Voice-Call": quote(call_sid, safe=""),
        # The operator's server can tell a request that it has seen from a new one.
        "Idempotency-Key": quote(f"{call_sid}-{call_id}", safe=""),
    }
    if tool.method in ("GET", "DELETE"):
        return Request(tool.method, _with_query(url, rest), headers)
    return Request(tool.method, url, {**headers, "Content-Type": "application/json"}, orjson.dumps(rest))


def _address(url: str, arguments: Mapping[str, Any]) -> str:
    parts = urlsplit(url)
    path = "/".join(_segment(segment, arguments) for segment in parts.path.split("/"))
    query = _PLACEHOLDER.sub(lambda match: quote(str(arguments[match[1]]), safe=""), parts.query)
    return parts._replace(path=path, query=query).geturl()


def _segment(segment: str, arguments: Mapping[str, Any]) -> str:
    names = _PLACEHOLDER.findall(segment)
    for name in names:
        value = str(arguments[name])
        if not value or _NOT_IN_A_PATH.search(value):
            raise ArgumentRefused(f"{name} cannot be empty or have a slash, a backslash or a control character in it")
    filled = _PLACEHOLDER.sub(lambda match: quote(str(arguments[match[1]]), safe=""), segment)
    # Every client and server takes these for steps through the tree.
    if names and filled in (".", ".."):
        raise ArgumentRefused(f"{' and '.join(names)} cannot be only dots")
    return filled


def _with_query(url: str, arguments: Mapping[str, Any]) -> str:
    pairs = [(name, _plain(each)) for name, value in arguments.items() for each in _values(value)]
    if not pairs:
        return url
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(pairs, quote_via=quote, safe='')}"


def _values(value: Any) -> list[Any]:
    """A list becomes a parameter for each of its values, null none at all."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if each is not None]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _told(answer: Answer) -> dict[str, Any]:
    if 300 <= answer.status < 400:
        return {"status": answer.status, "error": "it points to another address, which is not followed"}
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        return {"status": answer.status, "error": "its answer is compressed, which was not asked for"}
    text = answer.body.decode("utf-8", "replace")
    body = _body(text) if answer.whole else text
    length = len(_json(body)) if not isinstance(body, str) else len(body)
    if length <= LONGEST_TEXT:
        return {"status": answer.status, "body": body}
    size = f"{len(text)} characters" if answer.whole else f"more than {LONGEST_BODY} bytes"
    note = f"only the first {LONGEST_TEXT} characters of {size}"
    return {"status": answer.status, "body": text[:LONGEST_TEXT], "note": note}


def _body(text: str) -> Any:
    try:
        body = orjson.loads(text)
        _json(body)
    # The second: it can be nested more deeply than it can be written.
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return text
    return body


def _doubt(tool: WebhookTool) -> str:
    if tool.method == "GET":
        return ""
    return "; whether it was done is not known, so do not do it again without telling the caller"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()

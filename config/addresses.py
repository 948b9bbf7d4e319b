"""What an agent's file may say of another machine: its address, its headers, and what the environment fills in."""

import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from config.faults import suggestion
from config.table import Table

ADDRESS_ALLOWED = (
    "an address such as 'https://example.com/calls' without user, password and #; http only for localhost, "
    "127.0.0.1 and [::1]; an address of a private network beside allow_private = true"
)
_HEADERS_ALLOWED = "names and texts without control characters; of the environment, ${NAME}"
_SECRET_ALLOWED = "the name of a variable of the environment, such as '${CALLS_SECRET}'"

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ADDRESS = re.compile(r"[!-~]{1,2000}")
# RFC 3986 has no place for these, and clients disagree on what they do with them.
_NEVER = re.compile(r'["<>\\^`|\[\]]|%(?![0-9A-Fa-f]{2})')
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LOCAL = ("localhost", "127.0.0.1", "::1")

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\t -~]{1,8000}")
_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "expect"}
    | {"te", "trailer", "upgrade", "x-voice-call", "idempotency-key"}
)
"""Headers that the server sends itself or that would change how a request is read."""
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def address(table: Table, key: str, names: Collection[str] | None = ()) -> str:
    """The address at `key`; its path and query may have the `names` in braces, where None stands for any."""
    url = table.form(key, _ADDRESS, ADDRESS_ALLOWED)
    wrong = _wrong(url, table.flag("allow_private")) if url else None
    if wrong:
        table.refuse(key, wrong, ADDRESS_ALLOWED)
        return url
    for name in _PLACEHOLDER.findall(url):
        if names is not None and name not in names:
            known = ", ".join(f"{{{each}}}" for each in names) or "no braces"
            wrong = f"has {{{name}}}, which is no required parameter that is a text or a number"
            table.refuse(key, wrong + suggestion(name, names), known)
    return url


def headers(table: Table, environ: Mapping[str, str]) -> dict[str, str]:
    """The headers of `table`, filled in. No value is ever part of a fault: it may be a secret."""
    filled: dict[str, str] = {}
    for name in table.names(_HEADER_NAME, _HEADERS_ALLOWED):
        value = table.raw(name)
        if name.lower() in _OURS:
            table.refuse(name, "is a header that the server sends itself", _HEADERS_ALLOWED)
        elif name.lower() in (other.lower() for other in filled):
            table.refuse(name, "is there twice", "each header once, in capitals or not")
        elif not isinstance(value, str) or not value.strip():
            table.refuse(name, "is no text", _HEADERS_ALLOWED)
        else:
            filled[name] = _filled_in(table, name, value, environ).strip()
            if not _HEADER_VALUE.fullmatch(filled[name]) and _known(value, environ):
                table.refuse(name, "has characters that a header may not have, or is too long", _HEADERS_ALLOWED)
    return filled


def secret(table: Table, key: str, environ: Mapping[str, str]) -> str:
    """The value of the environment's variable that the text at `key` refers to; empty when the key is missing."""
    value = table.raw(key)
    if value is None:
        return ""
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        table.refuse(key, "is no reference: a secret does not stand in a file", _SECRET_ALLOWED)
        return ""
    return _filled_in(table, key, value, environ)


def _wrong(url: str, private: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "has no host and port that can be read"
    if "@" in parts.netloc:
        return "has a user or a password"
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL):
        return "is no https address"
    if not (_HOST.fullmatch(host) or _is_ipv6(host)) or port == 0:
        return "has no host and port that can be called"
    # Of a name it is known only when it is called; then the same holds.
    if not private and host not in _LOCAL and _is_private(host):
        return "is an address of a private network"
    rest = _PLACEHOLDER.sub("", f"{parts.path}?{parts.query}")
    if "{" in rest or "}" in rest or _NEVER.search(rest) or "#" in url:
        return "has characters after the host that an address may not have"
    return None


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _known(text: str, environ: Mapping[str, str]) -> bool:
    return all(environ.get(name, "").strip() for name in _REFERENCE.findall(text))


def _filled_in(table: Table, key: str, text: str, environ: Mapping[str, str]) -> str:
    for name in _REFERENCE.findall(text):
        if not environ.get(name, "").strip():
            wrong = f"refers to {name}, which the environment does not have{suggestion(name, environ)}"
            table.refuse(key, wrong, "variables of the environment that are set")
    return _REFERENCE.sub(lambda match: environ.get(match[1], "").strip(), text)

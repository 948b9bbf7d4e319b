"""TwiML, Twilio's call script: a document to a list of verbs. Pure. Source: Twilio's docs, TwiML for Voice."""

from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element


class TwimlFault(ValueError):
    """Not a document that Twilio would run; error 12100."""


@dataclass(frozen=True)
class Say:
    text: str


@dataclass(frozen=True)
class Play:
    url: str


@dataclass(frozen=True)
class Pause:
    seconds: int


@dataclass(frozen=True)
class Stream:
    url: str
    name: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    status_callback: str | None = None
    status_callback_method: str = "POST"


@dataclass(frozen=True)
class Connect:
    stream: Stream
    action: str | None = None
    method: str = "POST"


@dataclass(frozen=True)
class Redirect:
    url: str
    method: str = "POST"


@dataclass(frozen=True)
class Dial:
    numbers: tuple[str, ...]
    action: str | None = None
    method: str = "POST"
    caller_id: str | None = None
    timeout_s: int = 30
    whisper_url: str | None = None
    """The document that is run for whoever answers, before the two are connected."""


@dataclass(frozen=True)
class Hangup:
    pass


@dataclass(frozen=True)
class Reject:
    reason: str = "rejected"


@dataclass(frozen=True)
class Unknown:
    """An element that Twilio passes over with warning 12200."""

    name: str


Verb = Say | Play | Pause | Connect | Redirect | Dial | Hangup | Reject | Unknown


def parse(document: str) -> list[Verb]:
    """The verbs in order. Raises TwimlFault."""
    try:
        root = ElementTree.fromstring(document.strip())
    except ElementTree.ParseError as error:
        raise TwimlFault(f"not XML: {error}") from error
    if root.tag != "Response":
        raise TwimlFault(f"<{root.tag}> where <Response> belongs")
    return [_verb(element) for element in root]


def _verb(element: Element) -> Verb:
    match element.tag:
        case "Say":
            return Say(" ".join("".join(element.itertext()).split()))
        case "Play":
            return Play(_text(element))
        case "Pause":
            return _pause(element.get("length", "1"))
        case "Connect":
            return _connect(element)
        case "Redirect":
            return Redirect(_text(element), element.get("method", "POST"))
        case "Dial":
            return _dial(element)
        case "Hangup":
            return Hangup()
        case "Reject":
            return Reject(element.get("reason", "rejected"))
    return Unknown(element.tag)


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _pause(length: str) -> Verb:
    if not length.isdecimal():
        raise TwimlFault(f"<Pause> length {length!r} is not a whole number of seconds")
    return Pause(int(length))


def _connect(element: Element) -> Verb:
    streams = element.findall("Stream")
    if len(element) != 1 or not streams:
        raise TwimlFault("<Connect> needs exactly one <Stream>")
    return Connect(_stream(streams[0]), element.get("action"), element.get("method", "POST"))


def _stream(element: Element) -> Stream:
    """Name and value of a parameter are below 500 characters together; Twilio refuses longer ones."""
    parameters = {child.get("name", ""): child.get("value", "") for child in element.findall("Parameter")}
    too_long = [name for name, value in parameters.items() if len(name) + len(value) >= 500 or not name]
    if too_long:
        raise TwimlFault(f"<Parameter> without a name or of 500 characters and more: {too_long}")
    return Stream(
        element.get("url", ""),
        element.get("name"),
        parameters,
        element.get("statusCallback"),
        element.get("statusCallbackMethod", "POST"),
    )


def _dial(element: Element) -> Verb:
    nouns = element.findall("Number")
    timeout = element.get("timeout", "30")
    if not timeout.isdecimal():
        raise TwimlFault(f"<Dial> timeout {timeout!r} is not a whole number of seconds")
    return Dial(
        tuple(_text(child) for child in nouns) or (_text(element),),
        element.get("action"),
        element.get("method", "POST"),
        element.get("callerId"),
        int(timeout),
        nouns[0].get("url") if nouns else None,
    )

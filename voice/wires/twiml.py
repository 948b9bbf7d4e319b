"""TwiML: what Twilio is told to do with a call. Pure. Source: Twilio docs, TwiML for Voice."""

from collections.abc import Mapping

from twilio.twiml.voice_response import Connect, Dial, VoiceResponse

LONGEST_TRANSFER_S = 4 * 3600
"""A connected human and caller may talk so long."""


def stream(public_url: str, parameters: Mapping[str, str], name: str) -> str:
    """Connect the call to our stream door. When the stream ends and the call has not, Twilio asks for what comes behind
    the stream of that name.

    Each parameter's name and value have less than 500 characters together (a limit of Twilio's).
    """
    connect = Connect()
    noun = connect.stream(
        name=name,
        url=public_url.replace("https://", "wss://", 1) + "/twilio/stream",
        status_callback=f"{public_url}/twilio/stream-status",
    )
    for parameter, value in parameters.items():
        noun.parameter(name=parameter, value=value)
    response = VoiceResponse()
    response.append(connect)
    response.redirect(behind(public_url, name), method="POST")
    return str(response)


def behind(public_url: str, name: str) -> str:
    """Where Twilio asks what comes behind the stream of that name."""
    return f"{public_url}/twilio/resume?stream={name}"


def dial(number: str, timeout_s: int, action: str, whisper: str | None = None, first: str = "") -> str:
    """Connect the caller with `number`. Twilio posts what came of it to `action`; the human who answers hears
    what `whisper` says before the two are connected; the caller hears `first`, if anything, before it rings."""
    response = VoiceResponse()
    if first:
        response.say(first)
    dialing = Dial(
        action=action, method="POST", timeout=timeout_s, time_limit=LONGEST_TRANSFER_S, answer_on_bridge=True
    )
    dialing.number(number, **({"url": whisper, "method": "POST"} if whisper else {}))
    response.append(dialing)
    return str(response)


def again(seconds: int, url: str) -> str:
    """Have Twilio ask somebody else, a little later."""
    response = VoiceResponse()
    response.pause(length=seconds)
    response.redirect(url, method="POST")
    return str(response)


def say(text: str) -> str:
    response = VoiceResponse()
    if text:
        response.say(text)
    return str(response)


def apology(text: str) -> str:
    response = VoiceResponse()
    response.say(text)
    response.hangup()
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)

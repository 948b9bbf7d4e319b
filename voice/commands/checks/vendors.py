"""The vendors' accounts: each is asked for what a call asks for, as little of it as can be."""

from collections.abc import Iterator

from voice.commands.checks.finding import Finding, Patient, failed, ok, warning
from voice.errors import VendorError, VendorRefused
from voice.wires.language_model import LanguageModel, Request
from voice.wires.speech_account import SpeechAccount, Subscription
from voice.wires.transcription_session import Hearing, TranscriptionSession

_LITTLE_LEFT = 0.1
"""Of the characters of a month."""
_SILENCE_MS = 500


def transcriber(patient: Patient) -> list[Finding]:
    """A session is opened and takes its settings; it hears nothing, which costs nothing."""
    settings = patient.settings
    what = f"transcriber, {settings.openai_transcription_model}"
    agent = patient.agents.get(settings.default_agent)
    pcm24k = settings.openai_audio_format == "pcm24k"
    try:
        session = TranscriptionSession(
            settings.openai_realtime_url,
            settings.openai_api_key,
            settings.openai_transcription_model,
            pcm24k,
            "doctor",
        )
        try:
            session.configure(Hearing(agent.language if agent else "en", (), _SILENCE_MS))
        finally:
            session.shutdown()
    except VendorError as error:
        return [_failed(what, error, "OPENAI_API_KEY", "OPENAI_TRANSCRIPTION_MODEL")]
    return [ok(what, "OpenAI takes the key, and the session its settings")]


def language_model(patient: Patient) -> list[Finding]:
    """One word of each model."""
    settings = patient.settings
    models = [settings.xai_model, *([settings.xai_fallback_model] if settings.xai_fallback_model else [])]
    models += [agent.model for agent in patient.agents.values() if agent.model]
    asked = LanguageModel(settings.xai_base_url, settings.xai_api_key, 1)
    try:
        return [_model(asked, model) for model in dict.fromkeys(models)]
    finally:
        asked.close()


def _model(asked: LanguageModel, model: str) -> Finding:
    what = f"language model, {model}"
    request = Request("doctor", model, [{"role": "user", "content": "Say: yes"}], max_tokens=1)
    try:
        for _ in asked.stream(request):
            pass
    except VendorError as error:
        return _failed(what, error, "XAI_API_KEY", "XAI_MODEL or the agent's model")
    return ok(what, "xAI takes the key, and the model answers")


def synthesizer(patient: Patient) -> list[Finding]:
    """What is left of the month, and one character in each voice."""
    settings = patient.settings
    account = SpeechAccount(settings.elevenlabs_http_url, settings.elevenlabs_api_key)
    return [_quota(account), *_voices(patient, account)]


def _quota(account: SpeechAccount) -> Finding:
    what = "synthesizer, characters"
    try:
        told = account.subscription()
    except VendorRefused as error:
        if error.account:
            return _failed(what, error, "ELEVENLABS_API_KEY", "")
        return warning(
            what, f"ElevenLabs does not tell: {error.detail}", "let the key read the user, to see what is left"
        )
    except VendorError as error:
        return _failed(what, error, "ELEVENLABS_API_KEY", "")
    return _left(what, told)


def _left(what: str, told: Subscription) -> Finding:
    left = told.limit - told.used
    words = f"{max(0, left):,} of {told.limit:,} left ({told.tier}, {told.status})"
    more = "buy more characters, or another plan"
    if left <= 0 and not told.can_extend:
        return failed(what, words, more)
    if left < told.limit * _LITTLE_LEFT:
        return warning(what, words, more)
    return ok(what, words)


def _voices(patient: Patient, account: SpeechAccount) -> Iterator[Finding]:
    users: dict[str, list[str]] = {}
    for agent in patient.agents.values():
        for voice in dict.fromkeys((agent.voice, agent.fallback_voice)):
            if voice:
                users.setdefault(voice, []).append(agent.name)
    for voice, agents in users.items():
        what = f"voice {voice}"
        try:
            room = account.speak(voice, patient.settings.elevenlabs_model)
        except VendorError as error:
            yield _failed(what, error, "ELEVENLABS_API_KEY", f"the voice of {', '.join(agents)}, or ELEVENLABS_MODEL")
            continue
        if room is not None and room.most - room.now < 1:
            why = f"speaks, and {room.now} of the {room.most} requests that may run at once do so already"
            yield warning(what, why, "callers would wait: another plan has more")
        else:
            most = f"; {room.most} requests may run at once" if room else ""
            yield ok(what, f"speaks with {patient.settings.elevenlabs_model}, for {', '.join(agents)}{most}")


def _failed(what: str, error: VendorError, key: str, model: str) -> Finding:
    if isinstance(error, VendorRefused):
        todo = f"look at {key}, and at what the account has left" + (f"; else at {model}" if model else "")
    else:
        todo = "look at the vendor's status page, and whether this machine may connect to it"
    return failed(what, error.detail, todo)

"""The application: settings and agents become services, services become doors. `gunicorn server:app` serves it.

The only reader of the environment besides gunicorn.conf.py and the command line.
"""

import sys
from collections.abc import Mapping
from typing import NoReturn

from flask import Flask
from gevent import monkey

from config.agents import Agent
from config.faults import ConfigError
from config.settings import Settings
from config.start import environment, load
from voice import logs
from voice.call import Services
from voice.monitor import Monitor
from voice.web.health import health_doors
from voice.web.tokens import Tokens
from voice.web.twilio import NoReader, TwilioDoors
from voice.wires.clips import Clips
from voice.wires.language_model import LanguageModel
from voice.wires.synthesizer import Synthesizer
from voice.wires.telephone import Telephone
from voice.wires.transcriber import Transcriber

_BODY_BYTES = 65536


def create_app(settings: Settings, agents: Mapping[str, Agent]) -> Flask:
    """The Flask application. Its monitor, `app.extensions["monitor"]`, is started by whoever serves it."""
    app = Flask("voice", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _BODY_BYTES
    app.config["SOCK_SERVER_OPTIONS"] = {"thread_class": NoReader}
    services = _services(settings, agents)
    doors = TwilioDoors(services, Tokens(settings.twilio_auth_token), settings.public_url, settings.max_calls)
    app.register_blueprint(doors.blueprint())
    app.register_blueprint(health_doors(settings.max_calls))
    app.extensions["monitor"] = Monitor(settings.idle_timeout_s, settings.monitor_interval_s)
    return app


def _services(settings: Settings, agents: Mapping[str, Agent]) -> Services:
    def new_transcriber(name: str) -> Transcriber:
        return Transcriber(
            settings.openai_realtime_url,
            settings.openai_api_key,
            settings.openai_transcription_model,
            settings.openai_audio_format,
            name,
        )

    def new_synthesizer(agent: Agent, voice: str) -> Synthesizer:
        chosen = {name: value for name, value in vars(agent.voice_settings).items() if value is not None}
        return Synthesizer(
            settings.elevenlabs_ws_url,
            settings.elevenlabs_api_key,
            settings.elevenlabs_model,
            voice,
            agent.language,
            chosen,
        )

    return Services(
        agents=agents,
        default_agent=settings.default_agent,
        language_model=LanguageModel(settings.xai_base_url, settings.xai_api_key, settings.max_calls),
        default_model=settings.xai_model,
        fallback_model=settings.xai_fallback_model,
        clips=Clips(
            settings.elevenlabs_http_url, settings.elevenlabs_api_key, settings.elevenlabs_model, settings.clips_dir
        ),
        telephone=Telephone(settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_api_base_url),
        call_log_dir=settings.call_log_dir,
        new_transcriber=new_transcriber,
        new_synthesizer=new_synthesizer,
    )


def _app_from_environment() -> Flask:
    """The application that gunicorn asks for. Ends the process with one message when it cannot be."""
    if not monkey.is_module_patched("socket"):
        _refuse("The server needs gevent's worker: start it in its own folder, where gunicorn.conf.py is.")
    try:
        settings, agents = load(environment())
    except ConfigError as error:
        _refuse(str(error))
    secrets = [
        settings.twilio_auth_token,
        settings.openai_api_key,
        settings.xai_api_key,
        settings.elevenlabs_api_key,
    ]
    logs.configure(settings.log_level, settings.log_format, secrets)
    return create_app(settings, agents)


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(why + "\n")
    # gunicorn's own code for a worker that cannot boot: with any other it would boot another one, without end.
    sys.exit(3)


def __getattr__(name: str) -> Flask:
    """`app` is made when it is first asked for: importing this module needs no keys, serving it does."""
    if name != "app":
        raise AttributeError(f"module 'server' has no attribute {name!r}")
    app = globals()["app"] = _app_from_environment()
    return app

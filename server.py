"""The application: settings and agents become services, services become doors. `gunicorn server:app` serves it.

The only reader of the environment besides gunicorn.conf.py and the command line.
"""

import importlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import gevent
from flask import Flask
from gevent import monkey

from config.agents import Agent
from config.faults import ConfigError
from config.prices import Prices
from config.settings import Settings
from config.start import environment, load
from voice import garbage, limits, logs
from voice.after_call import AfterCall
from voice.breaker import Breaker
from voice.heartbeat import Heartbeat
from voice.metrics.gauges import Gauges
from voice.monitor import Monitor
from voice.presence import Presence
from voice.pressure import Pressure
from voice.recall import Recall
from voice.recorder import Recordings
from voice.records.outbox import Outbox
from voice.records.records import Records
from voice.records.retention import Retention
from voice.services import Services
from voice.spending import Spending, unpriced
from voice.tracing import Tracing
from voice.web import bodies
from voice.web.api import Api, register_api_errors
from voice.web.console.doors import Console
from voice.web.console.live import Live
from voice.web.console.phone import PhoneDoors
from voice.web.console.sessions import Sessions
from voice.web.gate import Gate
from voice.web.health import health_doors
from voice.web.metrics import metrics_door
from voice.web.outbound_limits import OutboundLimits
from voice.web.tokens import Tokens
from voice.web.twilio import NoReader, TwilioDoors
from voice.wires.clips import Clips
from voice.wires.language_model import LanguageModel
from voice.wires.synthesizer import Synthesizer
from voice.wires.telephone import Telephone
from voice.wires.transcriber import Transcriber

_LAST_WORDS_S = 3.0
_LAST_SPANS_S = 1.0
_SETTLE_S = 10.0
_CALLERS_FIRST_S = 3.0
_SHORTEST_SECRET = 6
_BEFORE_NEXT_TRY_S = 2.0

_log = logging.getLogger("voice")


class Background:
    """What runs besides the requests: started by whoever serves the application, in the process that serves it."""

    def __init__(
        self,
        telephone: Telephone,
        records: Records,
        outbox: Outbox,
        monitor: Monitor,
        heartbeat: Heartbeat,
        presence: Presence,
        pressure: Pressure,
        gauges: Gauges,
        tracing: Tracing,
    ) -> None:
        self._telephone = telephone
        self._records = records
        self._presence = presence
        self._outbox = outbox
        self._monitor = monitor
        self._heartbeat = heartbeat
        self._pressure = pressure
        self._gauges = gauges
        self._tracing = tracing

    def start(self) -> None:
        garbage.begin()
        self._tracing.start()
        self._records.start()
        self._outbox.start()
        self._monitor.start()
        self._heartbeat.start()
        self._presence.start()
        self._pressure.start()
        self._gauges.start()
        gevent.spawn(self._settle).name = "settle"

    def _settle(self) -> None:
        """Once the database is up, and the callers who have waited for a server are served."""
        gevent.sleep(_CALLERS_FIRST_S)
        gevent.get_hub().threadpool.apply(self._load)
        self._records.flush(_SETTLE_S)
        garbage.begin()

    def _load(self) -> None:
        """What is needed later, and what callers who are waiting for a server to begin should not wait for."""
        importlib.import_module("jsonschema")
        self._telephone.load()

    def stop(self) -> None:
        """Write down what waits; what is not delivered is delivered by the next one."""
        self._outbox.stop()
        self._presence.stop()
        self._records.stop(_LAST_WORDS_S)
        self._tracing.stop(_LAST_SPANS_S)


def create_app(settings: Settings, agents: Mapping[str, Agent], prices: Prices) -> Flask:
    """The Flask application, and what runs beside it: `app.extensions["background"]`."""
    app = Flask("voice", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = bodies.LONGEST
    app.config["SOCK_SERVER_OPTIONS"] = {"thread_class": NoReader}
    services = _services(settings, agents, prices)
    after_call = AfterCall(
        agents, services.records, services.language_model, services.default_model, services.prices, services.owner
    )
    recall = Recall(services.telephone, services.records, services.public_url, services.owner)
    spending = _spending(settings, agents, services)
    pressure = Pressure()
    gate = Gate(services.records, spending, pressure, settings.calls_per_second, settings.calls_per_number)
    tokens = Tokens(settings.twilio_auth_token, services.records.spend)
    app.register_blueprint(TwilioDoors(services, after_call, recall, tokens, gate, settings.max_calls).blueprint())
    limits = OutboundLimits(
        settings.outbound_prefixes,
        settings.outbound_per_minute,
        settings.outbound_per_day,
        settings.outbound_minutes_per_day,
    )
    api = Api(services, settings.api_token, settings.twilio_phone_number, limits, spending)
    app.register_blueprint(api.blueprint())
    register_api_errors(app)
    app.register_blueprint(health_doors(settings.max_calls, lambda: services.records.is_in_trouble))
    heartbeat = Heartbeat(services.records, services.owner)
    presence = Presence(services.records, services.owner, settings.max_calls, lambda: heartbeat.is_watched)
    sessions = Sessions(settings.api_token)
    phone = PhoneDoors(services, after_call, Tokens(sessions.secret, services.records.spend), settings.max_calls)
    # Not the one that the calls' records go through: whoever looks for something must not keep them waiting.
    looking = Records(settings.database_url)
    console = Console(services, looking, api, Live(presence, looking), sessions)
    app.register_blueprint(console.blueprint(phone))
    app.register_blueprint(metrics_door(settings.api_token))
    app.extensions["background"] = Background(
        services.telephone,
        services.records,
        Outbox(services.records, after_call.destination),
        Monitor(
            settings.idle_timeout_s,
            settings.monitor_interval_s,
            [recall.sweep, *_chores(settings, services, after_call, spending)],
            recall.hang_up,
        ),
        heartbeat,
        presence,
        pressure,
        Gauges(settings.max_calls, pressure),
        Tracing(settings.otel_exporter_otlp_endpoint, settings.trace_headers, settings.otel_service_name),
    )
    return app


def _chores(
    settings: Settings, services: Services, after_call: AfterCall, spending: Spending
) -> list[Callable[[], None]]:
    chores = [garbage.sweep, after_call.sweep, services.recordings.sweep]
    if settings.cost_per_call or settings.cost_per_day:
        chores.append(spending.look)
    if settings.retention_days:
        retention = Retention(
            services.records, settings.call_log_dir, settings.retention_days, services.recordings.delete_older
        )
        chores.append(retention.apply)
    return chores


def _spending(settings: Settings, agents: Mapping[str, Agent], services: Services) -> Spending:
    models = {settings.xai_model, *(agent.model for agent in agents.values() if agent.model)}
    models |= {settings.xai_fallback_model} if settings.xai_fallback_model else set()
    missing = unpriced(services.prices, models, settings.openai_transcription_model, settings.elevenlabs_model)
    if missing and (settings.cost_per_call or settings.cost_per_day):
        _log.warning(
            "COST_PER_CALL and COST_PER_DAY count nothing for what has no price in config/prices.toml: %s",
            ", ".join(missing),
        )
    return Spending(services.records, settings.cost_per_call, settings.cost_per_day)


def _services(settings: Settings, agents: Mapping[str, Agent], prices: Prices) -> Services:
    def new_transcriber(name: object) -> Transcriber:
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
        transcription_model=settings.openai_transcription_model,
        speech_model=settings.elevenlabs_model,
        prices=prices,
        clips=Clips(
            settings.elevenlabs_http_url, settings.elevenlabs_api_key, settings.elevenlabs_model, settings.clips_dir
        ),
        breaker=Breaker(),
        telephone=Telephone(settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_api_base_url),
        records=Records(settings.database_url),
        public_url=settings.public_url,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        call_log_dir=settings.call_log_dir,
        recordings=Recordings(settings.recordings_dir),
        new_transcriber=new_transcriber,
        new_synthesizer=new_synthesizer,
    )


def _app_from_environment() -> Flask:
    """The application that gunicorn asks for. Ends the process with one message when it cannot be."""
    if not monkey.is_module_patched("socket"):
        _refuse("The server needs gevent's worker: start it in its own folder, where gunicorn.conf.py is.")
    try:
        settings, agents, prices = load(environment())
    except ConfigError as error:
        # gunicorn's master has looked at all of it when it started, so it was changed since. The other workers have it
        # as it was: rather another try after a while, and again, than gunicorn's end.
        time.sleep(_BEFORE_NEXT_TRY_S)
        _refuse(str(error), 1)
    logs.configure(settings.log_level, settings.log_format, _secrets(settings, agents))
    # gunicorn's master tells the operator; the rest would fail in the middle of somebody's call.
    calls = min(settings.max_calls, limits.calls_within(limits.raise_descriptors()))
    return create_app(replace(settings, max_calls=calls), agents, prices)


def _secrets(settings: Settings, agents: Mapping[str, Agent]) -> list[str]:
    """What must not stand in any log."""
    known = [
        settings.twilio_auth_token,
        settings.openai_api_key,
        settings.xai_api_key,
        settings.elevenlabs_api_key,
        settings.api_token,
        *settings.trace_headers.values(),
        unquote(urlsplit(settings.database_url).password or ""),
    ]
    for agent in agents.values():
        known.append(agent.after_call.secret)
        headers = [value for tool in agent.webhooks.values() for value in tool.headers.values()]
        # "Bearer abc" is seldom logged as a whole.
        known += [part for value in headers for part in (value, *value.split())]
    # Short ones would blank half of every line.
    return [secret for secret in known if secret and len(secret) >= _SHORTEST_SECRET]


def _refuse(why: str, code: int = 3) -> NoReturn:
    """3 is gunicorn's own code for a worker that cannot boot: with any other it boots another one, without end."""
    sys.stderr.write(why + "\n")
    sys.exit(code)


def __getattr__(name: str) -> Flask:
    """`app` is made when it is first asked for: importing this module needs no keys, serving it does."""
    if name != "app":
        raise AttributeError(f"module 'server' has no attribute {name!r}")
    app = globals()["app"] = _app_from_environment()
    return app

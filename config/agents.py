"""The agents: one TOML file each, read once at the start. Adding an agent is adding a file."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from config.faults import ConfigError, shown, suggestion
from config.models import LANGUAGE_MODEL_ALLOWED, language_model_fault
from config.table import Table

TOOLS = ("hang_up",)
VARIABLES = ("caller", "called", "now", "today")
"""What may stand in braces in a greeting and in instructions."""
DEFAULT_APOLOGY = "I'm sorry, I'm having trouble right now. Please call again in a little while."

_NAME = re.compile(r"[a-z0-9_-]+")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_VOICE = re.compile(r"[A-Za-z0-9]{1,64}")
_VOICE_ALLOWED = "an ElevenLabs voice id of 1 to 64 letters and digits"
_BRACES = re.compile(r"\{([a-z_]+)\}")
_TOOL = re.compile("|".join(TOOLS))
# OpenAI refuses the whole session for one keyword with < > or a line end.
_KEYWORD = re.compile(r"[^<>\x00-\x1f\x7f-\x9f]*[^<>\x00-\x20\x7f-\x9f][^<>\x00-\x1f\x7f-\x9f]*")
# ISO 639-1.
_LANGUAGE = re.compile(
    "aa|ab|ae|af|ak|am|an|ar|as|av|ay|az|ba|be|bg|bi|bm|bn|bo|br|bs|ca|ce|ch|co|cr|cs|cu|cv|cy|da|de|dv|dz|ee|el|en|eo|es|et|"
    "eu|fa|ff|fi|fj|fo|fr|fy|ga|gd|gl|gn|gu|gv|ha|he|hi|ho|hr|ht|hu|hy|hz|ia|id|ie|ig|ii|ik|io|is|it|iu|ja|jv|ka|kg|ki|kj|"
    "kk|kl|km|kn|ko|kr|ks|ku|kv|kw|ky|la|lb|lg|li|ln|lo|lt|lu|lv|mg|mh|mi|mk|ml|mn|mr|ms|mt|my|na|nb|nd|ne|ng|nl|nn|no|nr|"
    "nv|ny|oc|oj|om|or|os|pa|pi|pl|ps|pt|qu|rm|rn|ro|ru|rw|sa|sc|sd|se|sg|si|sk|sl|sm|sn|so|sq|sr|ss|st|su|sv|sw|ta|te|tg|"
    "th|ti|tk|tl|tn|to|tr|ts|tt|tw|ty|ug|uk|ur|uz|ve|vi|vo|wa|wo|xh|yi|yo|za|zh|zu"
)


@dataclass(frozen=True)
class VoiceSettings:
    """How ElevenLabs speaks; None leaves its own default of the voice."""

    stability: float | None = None
    """0..1"""
    similarity_boost: float | None = None
    """0..1"""
    speed: float | None = None
    """0.7..1.2"""


@dataclass(frozen=True)
class TurnTaking:
    barge_in: Literal["on_speech", "on_words", "off"] = "on_speech"
    """What stops the agent: `on_speech` any speech at once, `on_words` real words only, `off` nothing."""
    backchannels: tuple[str, ...] = ()
    """Words that do not stop the agent, besides those of the language such as "mm-hm" and "okay"."""
    preemptive: Literal["think", "speak", "off"] = "think"
    """Before the final transcript: `think` on what was understood so far, even `speak`, or wait (`off`)."""
    silence_ms: int = 600
    """Quiet after which an utterance is over, 200..3000; less after a whole sentence, more where more is to come."""
    max_silence_ms: int = 1500
    """The longest that this can become, 200..5000."""


@dataclass(frozen=True)
class Limits:
    max_duration_s: int = 1800
    """The longest call, 10..14400 seconds."""
    idle_prompt_s: float = 15.0
    """A caller who is silent for so long is asked, 3..300 seconds."""
    idle_prompts: int = 2
    """So often, 0..10; then the call ends."""


@dataclass(frozen=True)
class Phrases:
    """What the agent says of itself, without the language model."""

    goodbye: str = "Goodbye."
    """Before the call ends of itself."""
    filler: str = "One moment, please."
    """When the answer or a tool takes its time."""
    not_understood: str = "Sorry, I didn't catch that. Could you say it again?"
    idle_prompt: str = "Are you still there?"
    time_warning: str = "We will have to finish in a moment."
    """Twenty seconds before the time limit."""


@dataclass(frozen=True)
class Agent:
    """Who answers a call: what one file under `config/agents/` says, checked."""

    name: str
    """The file's name without `.toml`."""
    greeting: str
    instructions: str
    voice: str
    """An ElevenLabs voice id."""
    numbers: tuple[str, ...] = ()
    """The E.164 numbers that reach this agent."""
    apology: str = DEFAULT_APOLOGY
    """Said when a vendor fails and the call has to end."""
    language: str = "en"
    """ISO 639-1"""
    model: str | None = None
    """An xAI model instead of the server's."""
    temperature: float = 0.6
    """0..2"""
    max_tokens: int = 300
    """The longest reply, 1..4000 tokens."""
    keywords: tuple[str, ...] = ()
    """Names and words that the transcriber should expect."""
    tools: tuple[str, ...] = ()
    voice_settings: VoiceSettings = VoiceSettings()
    turn_taking: TurnTaking = TurnTaking()
    limits: Limits = Limits()
    phrases: Phrases = Phrases()
    pronunciations: Mapping[str, str] = field(default_factory=dict)
    """Words, and how they are said."""
    fallback_voice: str | None = None
    """Speaks when the voice makes no sound."""


def load_agents(directory: Path, environ: Mapping[str, str]) -> dict[str, Agent]:
    """The agents of every `*.toml` file in `directory`, by name.

    `environ` is asked for DEFAULT_AGENT, which has to be one of them. Raises ConfigError with all faults of all files.
    """
    faults: list[str] = []
    agents: dict[str, Agent] = {}
    paths = _agent_files(directory)
    for path in paths:
        agent = _read(path, faults)
        if agent is not None:
            agents[agent.name] = agent
    if not paths:
        faults.append(f"{directory} has no agent; allowed: a directory with at least one .toml file")
    else:
        faults += _default_faults(environ, [path.stem for path in paths])
    faults += _shared_numbers(agents)
    if faults:
        raise ConfigError(faults)
    return agents


def agent_for(agents: Mapping[str, Agent], number: str, default: str) -> Agent:
    """The agent that claims the called `number`, else the one named `default`. Raises KeyError if there is none."""
    claimed = (agent for agent in agents.values() if number in agent.numbers)
    return next(claimed, None) or agents[default]


def _agent_files(directory: Path) -> list[Path]:
    # Names that begin with a dot are leftovers of editors and file systems.
    return sorted(path for path in directory.glob("*.toml") if not path.name.startswith("."))


def _read(path: Path, faults: list[str]) -> Agent | None:
    """The agent of one file; None, and what is wrong added to `faults`, when the file is not even TOML."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return _agent(path, Table(tomllib.loads(text), str(path), faults))
    except OSError as error:
        faults.append(f"{path} cannot be read ({error.strerror}); allowed: a TOML file")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        faults.append(f"{path} is not UTF-8 in line {line}; allowed: a TOML file in UTF-8")
    except ValueError as error:
        # tomllib names line and column, except at the end.
        wrong = str(error).replace("at end of document", f"at the end, line {len(text.splitlines())}")
        faults.append(f"{path} is not TOML: {wrong}; allowed: key = value, one a line")
    return None


def _agent(path: Path, file: Table) -> Agent:
    if not _NAME.fullmatch(path.stem):
        file.faults.append(f"{path} has a name that cannot be an agent's; allowed: a-z 0-9 _ - and then .toml")
    voice, turns, limits = file.table("voice_settings"), file.table("turn_taking"), file.table("limits")
    phrases, said = file.table("phrases"), file.table("pronunciations")
    agent = Agent(
        name=path.stem,
        numbers=file.texts("numbers", _NUMBER, "E.164 numbers such as '+15551234567'"),
        greeting=_with_variables(file, "greeting"),
        instructions=_with_variables(file, "instructions", lines=True),
        apology=file.text("apology", DEFAULT_APOLOGY),
        language=file.form("language", _LANGUAGE, "a language of ISO 639-1 such as 'en'", "en"),
        voice=file.form("voice", _VOICE, _VOICE_ALLOWED),
        model=_model(file),
        temperature=file.number("temperature", 0.6, 0, 2),
        max_tokens=file.whole("max_tokens", 300, 1, 4000),
        keywords=file.texts("keywords", _KEYWORD, "words without < > and control characters"),
        tools=file.texts("tools", _TOOL, "the tools " + ", ".join(TOOLS)),
        voice_settings=VoiceSettings(
            stability=voice.optional_number("stability", 0, 1),
            similarity_boost=voice.optional_number("similarity_boost", 0, 1),
            speed=voice.optional_number("speed", 0.7, 1.2),
        ),
        turn_taking=TurnTaking(
            barge_in=turns.choice("barge_in", ("on_speech", "on_words", "off")),
            backchannels=turns.texts("backchannels", _KEYWORD, "words without < > and control characters"),
            preemptive=turns.choice("preemptive", ("think", "speak", "off")),
            silence_ms=turns.whole("silence_ms", 600, 200, 3000),
            max_silence_ms=turns.whole("max_silence_ms", 1500, 200, 5000),
        ),
        limits=Limits(
            max_duration_s=limits.whole("max_duration_s", 1800, 10, 14400),
            idle_prompt_s=limits.number("idle_prompt_s", 15, 3, 300),
            idle_prompts=limits.whole("idle_prompts", 2, 0, 10),
        ),
        pronunciations=said.texts_by_key(),
        phrases=Phrases(**{field.name: phrases.text(field.name, str(field.default)) for field in fields(Phrases)}),
        fallback_voice=file.optional_form("fallback_voice", _VOICE, _VOICE_ALLOWED),
    )
    tables = (file, voice, turns, limits, phrases, said)
    for table in tables:
        table.refuse_unknown(*tables)
    return agent


def _with_variables(file: Table, key: str, lines: bool = False) -> str:
    text = file.text(key, lines=lines)
    for name in _BRACES.findall(text):
        if name not in VARIABLES:
            wrong = f"has {{{name}}}, which is no variable{suggestion(name, VARIABLES)}"
            file.refuse(key, wrong, ", ".join(f"{{{known}}}" for known in VARIABLES))
    return text


def _model(file: Table) -> str | None:
    model = file.text("model", "")
    fault = language_model_fault(model) if model else None
    if fault:
        file.refuse("model", f"is {shown(model)}, which {fault}", LANGUAGE_MODEL_ALLOWED)
    return model or None


def _default_faults(environ: Mapping[str, str], names: list[str]) -> list[str]:
    default = environ.get("DEFAULT_AGENT", "").strip() or "receptionist"
    if default in names:
        return []
    wrong = f"is {shown(default)}, which no file has{suggestion(default, names)}"
    return [f"DEFAULT_AGENT {wrong}; allowed: {', '.join(names)}"]


def _shared_numbers(agents: Mapping[str, Agent]) -> list[str]:
    owners: dict[str, str] = {}
    faults: list[str] = []
    for name, agent in agents.items():
        for number in agent.numbers:
            owner = owners.setdefault(number, name)
            if owner != name:
                faults.append(f"{name}.toml: numbers has {number}, which {owner}.toml has; allowed: one agent for each")
    return faults

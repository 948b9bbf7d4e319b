"""The agents: one TOML file each, read once at the start. Adding an agent is adding a file."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from config.faults import ConfigError, shown, suggestion
from config.languages import LANGUAGE
from config.models import LANGUAGE_MODEL_ALLOWED, language_model_fault
from config.table import Table
from config.tool_tables import read_after_call, read_digits, read_parameters, read_transfer, read_webhooks
from config.tools import TOOLS, AfterCall, Digits, Outbound, Transfer, WebhookTool

VARIABLES = ("caller", "called", "now", "today")
"""What may stand in braces in a greeting, in instructions and in a voicemail, besides the agent's own parameters."""
DEFAULT_APOLOGY = "I'm sorry, I'm having trouble right now. Please call again in a little while."

_NAME = re.compile(r"[a-z0-9_-]+")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_VOICE = re.compile(r"[A-Za-z0-9]{1,64}")
_VOICE_ALLOWED = "an ElevenLabs voice id of 1 to 64 letters and digits"
# Double braces stand for what a caller has keyed in, in the arguments of tools.
_BRACES = re.compile(r"(?<!\{)\{([a-z][a-z0-9_]*)\}(?!\})")
_TOOL = re.compile("|".join(TOOLS))
# OpenAI refuses the whole session for one keyword with < > or a line end.
_KEYWORD = re.compile(r"[^<>\x00-\x1f\x7f-\x9f]*[^<>\x00-\x20\x7f-\x9f][^<>\x00-\x1f\x7f-\x9f]*")


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
class Recording:
    """Both sides of every call of the agent are kept as sound."""

    keep_days: int
    """1..3650"""


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
    transfer_failed: str = "I'm sorry, nobody is picking up at the moment. Is there anything else I can do for you?"
    resumed: str = "Sorry, I lost you for a second."
    """When the call goes on after its connection was lost."""


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
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What an outbound call may tell of itself, by its name in the texts' braces, with what other calls have."""
    transfer: Transfer = Transfer()
    digits: Mapping[str, Digits] = field(default_factory=dict)
    """What `ask_for_digits` may ask for, by name."""
    webhooks: Mapping[str, WebhookTool] = field(default_factory=dict)
    """By the name of the tool."""
    outbound: Outbound = Outbound()
    after_call: AfterCall = AfterCall()
    recording: Recording | None = None
    """None: no sound is kept."""


def load_agents(directory: Path, environ: Mapping[str, str]) -> dict[str, Agent]:
    """The agents of every `*.toml` file in `directory`, by name.

    `environ` is asked for DEFAULT_AGENT, which has to be one of them, and for what the files refer to. Raises
    ConfigError with all faults of all files.
    """
    faults: list[str] = []
    agents: dict[str, Agent] = {}
    paths = _agent_files(directory)
    for path in paths:
        agent = _read(path, environ, faults)
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


def _read(path: Path, environ: Mapping[str, str], faults: list[str]) -> Agent | None:
    """The agent of one file; None, and what is wrong added to `faults`, when the file is not even TOML."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return _agent(path, Table(tomllib.loads(text), str(path), faults), environ)
    except OSError as error:
        faults.append(f"{path} cannot be read ({error.strerror}); allowed: a TOML file")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        faults.append(f"{path} is not UTF-8 in line {line}; allowed: a TOML file in UTF-8")
    except ValueError as error:
        # tomllib names line and column, except at the end.
        wrong = str(error).replace("at end of document", f"at the end, line {len(text.splitlines())}")
        faults.append(f"{path} is not TOML: {wrong}; allowed: key = value, one a line")
    except RecursionError:
        faults.append(f"{path} is nested too deeply; allowed: key = value, one a line")
    return None


def _agent(path: Path, file: Table, environ: Mapping[str, str]) -> Agent:
    if not _NAME.fullmatch(path.stem):
        file.faults.append(f"{path} has a name that cannot be an agent's; allowed: a-z 0-9 _ - and then .toml")
    voice, turns, limits = file.table("voice_settings"), file.table("turn_taking"), file.table("limits")
    phrases, outbound = file.table("phrases"), file.table("outbound")
    tools = file.texts("tools", _TOOL, "the tools " + ", ".join(TOOLS), TOOLS)
    parameters = read_parameters(file.table("parameters"), VARIABLES)
    variables = (*VARIABLES, *parameters)
    agent = Agent(
        name=path.stem,
        numbers=file.texts("numbers", _NUMBER, "E.164 numbers such as '+15551234567'"),
        greeting=_with_variables(file, "greeting", variables),
        instructions=_with_variables(file, "instructions", variables, lines=True),
        apology=file.text("apology", DEFAULT_APOLOGY),
        language=file.form("language", LANGUAGE, "a language of ISO 639-1 such as 'en'", "en"),
        voice=file.form("voice", _VOICE, _VOICE_ALLOWED),
        model=_model(file),
        temperature=file.number("temperature", 0.6, 0, 2),
        max_tokens=file.whole("max_tokens", 300, 1, 4000),
        keywords=file.texts("keywords", _KEYWORD, "words without < > and control characters"),
        tools=tools,
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
        pronunciations=file.table("pronunciations").texts_by_key(),
        phrases=Phrases(**{field.name: phrases.text(field.name, str(field.default)) for field in fields(Phrases)}),
        fallback_voice=file.optional_form("fallback_voice", _VOICE, _VOICE_ALLOWED),
        parameters=parameters,
        transfer=read_transfer(file, tools),
        digits=read_digits(file, tools),
        webhooks=read_webhooks(file.table("webhooks"), environ),
        outbound=Outbound(_with_variables(outbound, "voicemail", variables) if outbound.has("voicemail") else None),
        after_call=read_after_call(file.table("after_call"), environ),
        recording=Recording(file.table("recording").whole("keep_days", 30, 1, 3650)) if file.has("recording") else None,
    )
    file.refuse_unknown()
    return agent


def _with_variables(table: Table, key: str, variables: Sequence[str], lines: bool = False) -> str:
    text = table.text(key, lines=lines)
    for name in _BRACES.findall(text):
        if name not in variables:
            wrong = f"has {{{name}}}, which is no variable{suggestion(name, variables)}"
            table.refuse(key, wrong, ", ".join(f"{{{known}}}" for known in variables))
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

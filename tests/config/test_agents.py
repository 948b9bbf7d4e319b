"""The agents' files: what is taken, and that every fault of every file is listed with what is allowed."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from config.agents import (
    DEFAULT_APOLOGY,
    Agent,
    Limits,
    Phrases,
    Recording,
    TurnTaking,
    VoiceSettings,
    agent_for,
    load_agents,
)
from config.faults import ConfigError
from config.settings import AGENTS_DIR
from config.start import load
from config.tools import AfterCall, Digits, Outbound, Target, Transfer, WebhookTool
from tests.config.test_settings import REQUIRED

GOOD = 'greeting = "Hello."\ninstructions = "Be kind."\nvoice = "abc123"\n'
DEFAULT = {"DEFAULT_AGENT": "desk"}


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.toml").write_bytes(text.encode())
    return directory


def agent(directory: Path, text: str) -> Agent:
    return load_agents(write(directory, desk=text), DEFAULT)["desk"]


def faults(directory: Path, **files: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_agents(write(directory, **files), DEFAULT)
    return caught.value.faults


def fault(directory: Path, text: str) -> str:
    """The one fault of the file `text`, without the file's name."""
    (only,) = faults(directory, desk=text)
    return only.removeprefix(f"{directory / 'desk.toml'}").removeprefix(": ")


def test_the_clinics_receptionist_is_a_good_agent() -> None:
    receptionist = load_agents(AGENTS_DIR, {})["receptionist"]
    assert receptionist.tools == ("hang_up", "transfer_call", "send_sms", "ask_for_digits")
    assert receptionist.voice == "21m00Tcm4TlvDq8ikWAM"
    assert "12 Mill Lane" in receptionist.instructions
    # What needs a machine of the operator's is not there until somebody wants it.
    assert receptionist.webhooks == {} and receptionist.after_call.webhook is None
    assert all(target.number.startswith("+1555555") for target in receptionist.transfer.to.values())


def test_the_receptionists_file_is_good_with_all_of_its_examples(tmp_path: Path) -> None:
    text = _with_examples()
    environ = {"DEFAULT_AGENT": "desk", "CLINIC_TOKEN": "tok", "CALLS_SECRET": "hush"}
    desk = load_agents(write(tmp_path, desk=text), environ)["desk"]
    assert desk.webhooks["book_appointment"].headers == {"Authorization": "Bearer tok"}
    assert (desk.after_call.secret, desk.transfer.human) == ("hush", "front_desk")
    assert desk.fallback_voice and desk.model and desk.pronunciations and desk.turn_taking.backchannels


def test_the_receptionists_file_has_every_key_that_there_is() -> None:
    file = tomllib.loads(_with_examples())
    tables = {
        VoiceSettings: file["voice_settings"],
        TurnTaking: file["turn_taking"],
        Limits: file["limits"],
        Phrases: file["phrases"],
        Transfer: file["transfer"],
        Target: file["transfer"]["to"]["front_desk"],
        Digits: file["digits"]["patient_number"],
        WebhookTool: file["webhooks"]["book_appointment"],
        Outbound: file["outbound"],
        AfterCall: file["after_call"],
        Recording: file["recording"],
    }
    assert {field.name for field in fields(Agent)} - {"name"} == file.keys()
    for kind, table in tables.items():
        assert {field.name for field in fields(kind)} == table.keys(), kind


def _with_examples() -> str:
    """The receptionist's file, every example in it taken from behind its #."""
    return re.sub(r"^# (?=\[|\w+ = )", "", (AGENTS_DIR / "receptionist.toml").read_text(), flags=re.MULTILINE)


def test_three_keys_are_enough(tmp_path: Path) -> None:
    desk = agent(tmp_path, GOOD)
    assert desk == Agent("desk", "Hello.", "Be kind.", "abc123")
    assert (desk.apology, desk.language, desk.model, desk.temperature) == (DEFAULT_APOLOGY, "en", None, 0.6)
    assert (desk.max_tokens, desk.keywords, desk.tools, desk.numbers) == (300, (), (), ())
    assert desk.voice_settings == VoiceSettings(None, None, None)
    assert (desk.turn_taking, desk.limits) == (TurnTaking(silence_ms=600), Limits(1800))


def test_every_key_reaches_the_agent(tmp_path: Path) -> None:
    desk = agent(
        tmp_path,
        """
        numbers = ["+15551234567", "+442071234567"]
        greeting = "Hello."
        instructions = '''
        First line.
        \tSecond line.
        '''
        apology = "Sorry."
        language = "de"
        voice = "abc123"
        fallback_voice = "def456"
        model = "grok-4.3"
        temperature = 0
        max_tokens = 40
        keywords = ["AC-42", "Müller"]
        tools = ["hang_up"]
        [voice_settings]
        stability = 0
        similarity_boost = 1.0
        speed = 0.7
        [turn_taking]
        barge_in = "off"
        backchannels = ["go on"]
        preemptive = "speak"
        silence_ms = 200
        max_silence_ms = 900
        [limits]
        max_duration_s = 14400
        idle_prompt_s = 7.5
        idle_prompts = 0
        [phrases]
        goodbye = "Bye."
        filler = "Hold on."
        not_understood = "Pardon?"
        idle_prompt = "Hello?"
        time_warning = "One minute."
        [pronunciations]
        "Dr." = "Doctor"
        [recording]
        keep_days = 7
        """,
    )
    assert desk == Agent(
        name="desk",
        numbers=("+15551234567", "+442071234567"),
        greeting="Hello.",
        instructions="First line.\n        \tSecond line.",
        apology="Sorry.",
        language="de",
        voice="abc123",
        model="grok-4.3",
        temperature=0.0,
        max_tokens=40,
        keywords=("AC-42", "Müller"),
        tools=("hang_up",),
        voice_settings=VoiceSettings(0.0, 1.0, 0.7),
        turn_taking=TurnTaking("off", ("go on",), "speak", 200, 900),
        limits=Limits(14400, 7.5, 0),
        phrases=Phrases("Bye.", "Hold on.", "Pardon?", "Hello?", "One minute."),
        fallback_voice="def456",
        pronunciations={"Dr.": "Doctor"},
        recording=Recording(7),
    )


def test_the_number_chooses_the_agent(tmp_path: Path) -> None:
    agents = load_agents(write(tmp_path, desk=GOOD, night='numbers = ["+15551234567"]\n' + GOOD), DEFAULT)
    assert agent_for(agents, "+15551234567", "desk").name == "night"
    assert agent_for(agents, "+15557654321", "desk").name == "desk"
    with pytest.raises(KeyError):
        agent_for(agents, "+15557654321", "nobody")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('numbers = ["5551234567"]', "numbers has '5551234567'; allowed: E.164 numbers"),
        ('numbers = ["+0123456789"]', "numbers has"),
        ('numbers = ["+1234567890123456"]', "numbers has"),
        ('numbers = ["+15551234567", "+15551234567"]', "numbers has '+15551234567' twice; allowed: each once"),
        ("numbers = [15551234567]", "numbers has 15551234567; allowed: E.164"),
        ('numbers = "+15551234567"', "numbers is '+15551234567'; allowed: a list"),
        ('language = "english"', "language is 'english'; allowed: a language of ISO 639-1"),
        ('language = "de-DE"', "language is 'de-DE'"),
        ('language = "xx"', "language is 'xx'"),
        ('model = ""', "model is missing"),
        ("model = 4", "model is 4"),
        ('model = "grok-3"', "model is 'grok-3', which was retired by xAI on 2026-05-15; allowed: an xAI model"),
        ('model = "grok 5"', "model is 'grok 5', which is no model name"),
        ("temperature = 2.1", "temperature is 2.1; allowed: a number from 0 to 2"),
        ("temperature = nan", "temperature is nan"),
        ("temperature = -inf", "temperature is -inf"),
        ("temperature = true", "temperature is True"),
        ('temperature = "0.6"', "temperature is '0.6'"),
        ("max_tokens = 0", "max_tokens is 0; allowed: a whole number from 1 to 4000"),
        ("max_tokens = 300.0", "max_tokens is 300.0"),
        ("max_tokens = true", "max_tokens is True"),
        ('keywords = ["a<b"]', "keywords has 'a<b'; allowed: words without < >"),
        ('keywords = ["a\\nb"]', "keywords has"),
        ('keywords = [" "]', "keywords has ' '"),
        (
            'tools = ["hang_upp"]',
            "tools has 'hang_upp' (did you mean hang_up?); allowed: the tools hang_up, transfer_call",
        ),
        ('apology = "Sorry\\u0007"', "apology has control characters"),
        ('apology = "Sorry\\nagain"', "apology has control characters; allowed: a text of one line"),
        ("voice_settings = 1", "voice_settings is 1; allowed: a table that begins with the line [voice_settings]"),
        ("[voice_settings]\nstability = 1.1", "voice_settings.stability is 1.1; allowed: a number from 0 to 1"),
        ("[voice_settings]\nsimilarity_boost = -0.1", "voice_settings.similarity_boost is -0.1"),
        ("[voice_settings]\nspeed = 1.3", "voice_settings.speed is 1.3; allowed: a number from 0.7 to 1.2"),
        (
            '[turn_taking]\nbarge_in = "of"',
            "turn_taking.barge_in is 'of' (did you mean off?); allowed: on_speech, on_words, off",
        ),
        ("[turn_taking]\nbarge_in = false", "turn_taking.barge_in is False"),
        ("[turn_taking]\nsilence_ms = 199", "turn_taking.silence_ms is 199; allowed: a whole number from 200 to 3000"),
        ("[limits]\nmax_duration_s = 9", "limits.max_duration_s is 9; allowed: a whole number from 10 to 14400"),
        ('greetings = "x"', "greetings is unknown (did you mean greeting?); allowed: "),
        ("silence_ms = 600", "silence_ms is unknown (did you mean turn_taking.silence_ms?)"),
        ('[limits]\nkeyword = ["x"]', "limits.keyword is unknown (did you mean keywords?); allowed: max_duration_s"),
        ("[limit]\nmax_duration_s = 60", "limit is unknown (did you mean limits?)"),
        ("zzz = 1", "zzz is unknown; allowed: "),
    ],
)
def test_bad_values(tmp_path: Path, line: str, said: str) -> None:
    assert fault(tmp_path, GOOD + line).startswith(said)


@pytest.mark.parametrize("key", ["greeting", "instructions", "voice"])
@pytest.mark.parametrize("line", ["", '{key} = ""'])
def test_required_keys(tmp_path: Path, key: str, line: str) -> None:
    others = "".join(row + "\n" for row in GOOD.splitlines() if not row.startswith(key))
    assert fault(tmp_path, others + line.format(key=key)).startswith(f"{key} is missing; allowed: ")


@pytest.mark.parametrize("value", ["a b", "a/b", "a" * 65, "voicé"])
def test_bad_voices(tmp_path: Path, value: str) -> None:
    assert fault(tmp_path, GOOD.replace("abc123", value)).startswith("voice is ")


def test_all_faults_of_all_files_are_listed(tmp_path: Path) -> None:
    found = faults(tmp_path, desk=GOOD + "max_tokens = 0\ntemperature = 9", night="voice = 1", zoo="=")
    assert [line.removeprefix(f"{tmp_path}/").split()[:2] for line in found] == [
        ["desk.toml:", "temperature"],
        ["desk.toml:", "max_tokens"],
        ["night.toml:", "greeting"],
        ["night.toml:", "instructions"],
        ["night.toml:", "voice"],
        ["zoo.toml", "is"],
    ]


def test_a_number_belongs_to_one_agent(tmp_path: Path) -> None:
    text = 'numbers = ["+15551234567"]\n' + GOOD
    (only,) = faults(tmp_path, desk=text, night=text)
    assert only.startswith("night.toml: numbers has +15551234567, which desk.toml has")


@pytest.mark.parametrize(
    ("text", "line"),
    [('greeting = "Hello."\nvoice = \n', "line 2"), ('greeting = "Hello."\ninstructions = """\nBe', "line 3")],
)
def test_a_syntax_error_names_its_line(tmp_path: Path, text: str, line: str) -> None:
    assert "is not TOML" in (said := fault(tmp_path, text)) and line in said


def test_a_file_that_is_not_utf_8_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_bytes(GOOD.encode() + 'apology = "Désolé"'.encode("latin-1"))
    (only,) = faults(tmp_path)
    assert "is not UTF-8 in line 4" in only


def test_a_byte_order_mark_and_foreign_line_ends_are_no_fault(tmp_path: Path) -> None:
    assert agent(tmp_path, "\ufeff" + GOOD.replace("\n", "\r\n")).greeting == "Hello."


def test_the_files_name_has_to_be_a_name(tmp_path: Path) -> None:
    (tmp_path / "Front Desk.toml").write_text(GOOD)
    (only,) = faults(tmp_path, desk=GOOD)
    assert "Front Desk.toml has a name that cannot be an agent's" in only


def test_a_folder_in_place_of_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "night.toml").mkdir()
    (only,) = faults(tmp_path, desk=GOOD)
    assert "night.toml cannot be read" in only


def test_leftovers_of_editors_are_passed_over(tmp_path: Path) -> None:
    for name in (".desk.toml", "desk.toml~", "notes.txt"):
        (tmp_path / name).write_text("=")
    assert list(load_agents(write(tmp_path, desk=GOOD), DEFAULT)) == ["desk"]


def test_no_agent_at_all_is_a_fault(tmp_path: Path) -> None:
    assert "has no agent" in faults(tmp_path)[0]
    assert "has no agent" in faults(tmp_path / "missing")[0]


def test_the_default_agent_has_to_exist(tmp_path: Path) -> None:
    (only,) = faults(tmp_path, dusk=GOOD)
    assert only == "DEFAULT_AGENT is 'desk', which no file has (did you mean dusk?); allowed: dusk"


def test_settings_and_agents_fail_with_one_message(tmp_path: Path) -> None:
    environ = {**REQUIRED, **DEFAULT, "PORT": "0", "AGENTS_DIR": str(write(tmp_path, desk=GOOD + "zzz = 1"))}
    with pytest.raises(ConfigError) as caught:
        load(environ)
    assert [line.split()[0] for line in caught.value.faults] == ["PORT", f"{tmp_path / 'desk.toml'}:"]


def test_settings_and_agents_load_together(tmp_path: Path) -> None:
    settings, agents, _ = load({**REQUIRED, **DEFAULT, "AGENTS_DIR": str(write(tmp_path, desk=GOOD))})
    assert (settings.default_agent, list(agents)) == ("desk", ["desk"])


def test_a_variable_that_does_not_exist_is_a_fault(tmp_path: Path) -> None:
    said = fault(tmp_path, GOOD.replace("Hello.", "Hello {callr}, it is {now}."))
    assert said.startswith(
        "greeting has {callr}, which is no variable (did you mean caller?); allowed: {caller}, {called}"
    )


def test_braces_around_other_things_are_none(tmp_path: Path) -> None:
    said = "Answer {} or {1} or {A b}."
    assert agent(tmp_path, GOOD.replace("Be kind.", said)).instructions == said

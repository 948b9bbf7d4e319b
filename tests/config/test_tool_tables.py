"""An agent's tables about tools, outbound calls and what follows a call: what is taken, and what is a fault."""

from pathlib import Path

import pytest

from config.agents import Agent, load_agents
from config.faults import ConfigError
from config.tools import AfterCall, Digits, Outbound, Target, Transfer, WebhookTool
from tests.config.test_agents import GOOD, write

TOKEN = "tok-0123456789abcdef"
ENVIRON = {"DEFAULT_AGENT": "desk", "BOOKING_TOKEN": TOKEN, "CALLS_SECRET": "hush", "EMPTY": " ", "BROKEN": "a\nb"}
HOOK = '[webhooks.find]\ndescription = "Finds it."\nurl = "https://x.example/a"\n'
NEEDS = '[webhooks.find.parameters]\ntype = "object"\nrequired = ["id"]\n[webhooks.find.parameters.properties]\n'
TARGET = '[transfer.to.desk]\nnumber = "+15551234567"\ndescription = "the front desk"\n'


def agent(directory: Path, text: str) -> Agent:
    return load_agents(write(directory, desk=text), ENVIRON)["desk"]


def faults(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_agents(write(directory, desk=text), ENVIRON)
    return [each.removeprefix(f"{directory / 'desk.toml'}: ") for each in caught.value.faults]


def fault(directory: Path, text: str) -> str:
    (only,) = faults(directory, text)
    return only


def test_every_table_reaches_the_agent(tmp_path: Path) -> None:
    desk = agent(
        tmp_path,
        """
        greeting = "Hello {first_name}."
        instructions = "You speak with {first_name} of {company}, {caller}, {line_2}. Give {{pin}}."
        voice = "abc123"
        tools = ["hang_up", "transfer_call", "send_sms", "send_digits", "ask_for_digits"]
        [parameters]
        first_name = "there"
        company = ""
        line_2 = "x"
        [transfer]
        human = "desk"
        timeout_s = 60
        [transfer.to.desk]
        number = "+15551234567"
        description = "the front desk"
        warm = true
        [transfer.to.nurse]
        number = "+15551234568"
        description = "the nurse"
        [digits.pin]
        description = "the caller's PIN"
        length = 4
        sensitive = true
        [digits.room]
        description = "the room"
        [webhooks.find_appointment]
        description = "Finds an appointment."
        method = "GET"
        url = "https://booking.example.com:8443/v1/{id}/at?day={day}"
        headers = { Authorization = "Bearer ${BOOKING_TOKEN}", X-Own = "yes" }
        timeout_s = 2.5
        [webhooks.find_appointment.parameters]
        type = "object"
        required = ["id", "day"]
        [webhooks.find_appointment.parameters.properties]
        id = { type = "string", pattern = "^[0-9]+$" }
        day = { type = "integer" }
        [webhooks.open]
        description = "Opens the door."
        url = "http://localhost:9000/open"
        [outbound]
        voicemail = "Hello {first_name}, please call us."
        [after_call]
        webhook = "https://crm.example.com/calls"
        secret = "${CALLS_SECRET}"
        summary = true
        [after_call.fields]
        mood = { type = "string", description = "How the caller felt.", enum = ["good", "bad"] }
        visits = { type = "integer", description = "How often they came." }
        """,
    )
    properties = {"id": {"type": "string", "pattern": "^[0-9]+$"}, "day": {"type": "integer"}}
    assert desk.parameters == {"first_name": "there", "company": "", "line_2": "x"}
    assert desk.transfer == Transfer(
        "desk",
        60,
        {"desk": Target("+15551234567", "the front desk", True), "nurse": Target("+15551234568", "the nurse", False)},
    )
    assert desk.digits == {"pin": Digits("the caller's PIN", 4, True), "room": Digits("the room", None, False)}
    assert desk.webhooks == {
        "find_appointment": WebhookTool(
            "Finds an appointment.",
            "https://booking.example.com:8443/v1/{id}/at?day={day}",
            "GET",
            {"Authorization": f"Bearer {TOKEN}", "X-Own": "yes"},
            2.5,
            {"type": "object", "required": ["id", "day"], "properties": properties},
        ),
        "open": WebhookTool("Opens the door.", "http://localhost:9000/open"),
    }
    assert list(desk.webhooks) == ["find_appointment", "open"] and desk.webhooks["open"].method == "POST"
    assert desk.outbound == Outbound("Hello {first_name}, please call us.")
    assert desk.after_call == AfterCall(
        "https://crm.example.com/calls",
        "hush",
        True,
        {
            "mood": {"type": "string", "description": "How the caller felt.", "enum": ["good", "bad"]},
            "visits": {"type": "integer", "description": "How often they came."},
        },
    )
    assert TOKEN not in repr(desk) and "hush" not in repr(desk)


def test_without_the_tables_there_is_nothing_to_do(tmp_path: Path) -> None:
    desk = agent(tmp_path, GOOD)
    assert (desk.parameters, desk.transfer, desk.digits, desk.webhooks) == ({}, Transfer(None, 20, {}), {}, {})
    assert (desk.outbound, desk.after_call) == (Outbound(None), AfterCall(None, "", False, {}))


def test_a_human_may_be_there_for_the_vendors_failures_alone(tmp_path: Path) -> None:
    assert agent(tmp_path, GOOD + '[transfer]\nhuman = "desk"\n' + TARGET).transfer.human == "desk"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]:1/a", "https://9.9.9.9", "https://x/?a=%20"])
def test_addresses_that_are_allowed(tmp_path: Path, url: str) -> None:
    assert agent(tmp_path, GOOD + HOOK.replace("https://x.example/a", url)).webhooks["find"].url == url


@pytest.mark.threat(9)
@pytest.mark.parametrize("host", ["10.0.0.1", "[fd00::1]", "169.254.169.254", "[::ffff:192.168.0.1]", "100.64.0.1"])
def test_an_address_of_a_private_network_has_to_be_meant(tmp_path: Path, host: str) -> None:
    hook = HOOK.replace("https://x.example/a", f"https://{host}/a")
    with pytest.raises(ConfigError, match="is an address of a private network"):
        agent(tmp_path, GOOD + hook)
    meant = hook.replace("[webhooks.find]\n", "[webhooks.find]\nallow_private = true\n")
    assert meant != hook and agent(tmp_path, GOOD + meant).webhooks["find"].allow_private


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.1/",
        "ftp://x.example/",
        "file:///etc/passwd",
        "//x.example/",
        "x.example",
        "https://",
        "https:///a",
        "https://user@x.example/",
        "https://user:pass@x.example/",
        "https://x.example\\\\@evil.example/",
        "https://x.example:0/",
        "https://x.example:99999/",
        "https://x.example:a/",
        "https://[::1/",
        "https://[10.0.0.1]/",
        "https://x_y.example/",
        "https://{id}/",
        "https://{id}.example/",
        "https://x.example{id}/",
        "https://x.example:{id}/",
        "{id}://x.example/",
        "https://x.example/#{id}",
        "https://x.example/{id",
        "https://x.example/id}",
        "https://x.example/{}",
        "https://x.example/{{id}}",
        "https://x.example/${id}/${BOOKING_TOKEN",
        "https://x.example/%4{id}",
        "https://x.example/a b",
        "https://x.example/ä",
        "https://x.example/\\r\\nX: y",
        "https://xn--\\u00e4.example/",
        "https://x.example/<id>",
    ],
)
def test_addresses_that_are_not(tmp_path: Path, url: str) -> None:
    text = GOOD + HOOK.replace("https://x.example/a", url) + NEEDS + 'id = { type = "string" }'
    said = fault(tmp_path, text)
    assert said.startswith("webhooks.find.url ") and "; allowed: an address such as 'https://example.com" in said


def test_a_required_name_that_is_described_nowhere_is_a_slip(tmp_path: Path) -> None:
    said = fault(tmp_path, GOOD + HOOK + NEEDS + 'idd = { type = "string" }')
    assert said.startswith("webhooks.find.parameters requires 'id', which is not in properties (did you mean idd?)")


@pytest.mark.parametrize(
    ("properties", "hint"),
    [
        ('id = { type = "string" }', "(did you mean id?); allowed: {id}"),
        ('idd = { type = "string" }', "; allowed: no braces"),
        ('idd = { type = "boolean" }\nid = { type = "string" }', "(did you mean id?); allowed: {id}"),
        ('idd = { type = ["string", "null"] }', "; allowed: no braces"),
    ],
)
def test_a_place_in_an_address_needs_a_parameter_that_is_always_there(
    tmp_path: Path, properties: str, hint: str
) -> None:
    needs = NEEDS if "\nid =" in f"\n{properties}" else NEEDS.replace('"id"', "")
    text = GOOD + HOOK.replace("/a", "/{idd}") + needs + properties
    said = fault(tmp_path, text)
    assert said.startswith("webhooks.find.url has {idd}, which is no required parameter") and said.endswith(hint)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("parameters = 5", 'is no schema of type = "object"'),
        ("[webhooks.find.parameters]", 'is no schema of type = "object"'),
        ('[webhooks.find.parameters]\ntype = "string"', 'is no schema of type = "object"'),
        ('[webhooks.find.parameters]\ntype = "object"\nrequired = "id"', "is wrong at $.required: 'id' is not of type"),
        (NEEDS + 'id = { type = "text" }', "is wrong at $.properties.id.type: 'text' is not valid"),
        (NEEDS + 'id = { type = "string", pattern = "[" }', "is wrong at $.properties.id.pattern: '[' is not a"),
        (NEEDS + 'id = { "$ref" = "https://evil.example/" }', "has a $ref"),
        (NEEDS + 'id = { anyOf = [{ "$dynamicRef" = "#" }] }', "has a $ref"),
        (NEEDS + "id = { default = 2026-01-01 }", "is no JSON"),
        (NEEDS + "id = { default = nan }", "is no JSON"),
    ],
)
def test_a_schema_that_is_none(tmp_path: Path, parameters: str, said: str) -> None:
    wrong = fault(tmp_path, GOOD + HOOK + parameters)
    assert wrong.startswith(f"webhooks.find.parameters {said}") and "; allowed: a JSON schema" in wrong


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ('A = "${BOOKING_TOKE}"', "A refers to BOOKING_TOKE, which the environment does not have (did you mean BOOK"),
        ('A = "${EMPTY}"', "A refers to EMPTY, which the environment does not have"),
        ('A = "${BROKEN}"', "A has characters that a header may not have"),
        ('A = "a\\r\\nX-Evil: 1"', "A has characters that a header may not have"),
        ('A = "ä"', "A has characters that a header may not have"),
        ("A = 5", "A is no text"),
        ('A = ""', "A is no text"),
        ('"A B" = "x"', "'A B' is no name"),
        ('"A\\r\\n" = "x"', "'A\\r\\n' is no name"),
        ('Host = "evil.example"', "Host is a header that the server sends itself"),
        ('content-LENGTH = "5"', "content-LENGTH is a header that the server sends itself"),
        ('Idempotency-Key = "5"', "Idempotency-Key is a header that the server sends itself"),
        ('A = "x"\na = "y"', "a is there twice"),
    ],
)
def test_headers_that_cannot_be_sent(tmp_path: Path, header: str, said: str) -> None:
    wrong = fault(tmp_path, GOOD + HOOK + "[webhooks.find.headers]\n" + header)
    assert wrong.startswith(f"webhooks.find.headers.{said}")


def test_no_fault_shows_a_secret(tmp_path: Path) -> None:
    text = GOOD + HOOK + '[webhooks.find.headers]\nA = "${BOOKING_TOKEN}\\u0007"\n[after_call]\n'
    wrong = faults(tmp_path, text + 'secret = "hunter2"\nwebhook = "https://x.example"')
    assert len(wrong) == 2 and TOKEN not in str(wrong) and "hunter2" not in str(wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('tools = ["transfer_call"]', "tools has transfer_call, but nobody to transfer to; allowed: "),
        ('tools = ["ask_for_digits"]', "tools has ask_for_digits, but nothing to ask for; allowed: "),
        (TARGET, "transfer is there for nothing; allowed: it with transfer_call in tools"),
        ('[digits.pin]\ndescription = "x"', "digits is there for nothing; allowed: it with ask_for_digits in tools"),
        (
            '[transfer]\nhuman = "dask"\n' + TARGET,
            "transfer.human is 'dask', which is not in transfer.to (did you mean",
        ),
        ('[transfer]\nhuman = "desk"', "transfer.human is 'desk', which is not in transfer.to; allowed: a name of"),
        ('[transfer]\nhuman = "desk"\ntimeout_s = 4\n' + TARGET, "transfer.timeout_s is 4; allowed: a whole number"),
        ('[transfer]\nhuman = "desk"\ntime_out_s = 9\n' + TARGET, "transfer.time_out_s is unknown (did you mean trans"),
        ("transfer = 5", "transfer is 5; allowed: a table"),
        ("[transfer]\nto = 5", "transfer.to is 5; allowed: a table that begins with the line [transfer.to]"),
        ("[parameters]\nfirstName = 'x'", "parameters.'firstName' is no name; allowed: a name of a-z 0-9 _"),
        ("[parameters]\n_line = 'x'", "parameters.'_line' is no name"),
        ("[parameters]\ncaller = 'x'", "parameters.caller is known of every call; allowed: a name besides caller"),
        ("[parameters]\nname = 5", "parameters.name is 5; allowed: a text of one line"),
        ("[parameters]\nname = 'a\tb'", "parameters.name is 'a\\tb'; allowed: a text of one line"),
        ("[outbound]\nvoicemail = 'Hi {name}.'", "outbound.voicemail has {name}, which is no variable; allowed: "),
        ("[outbound]\nvoicemail = ''", "outbound.voicemail is missing; allowed: a text of one line"),
        ("[outbound]\nvoice_mail = 'Hi.'", "outbound.voice_mail is unknown (did you mean outbound.voicemail?)"),
        ('[after_call]\nwebhook = "https://x.example"', "after_call.secret is missing; allowed: webhook and secret"),
        ('[after_call]\nsecret = "${CALLS_SECRET}"', "after_call.webhook is missing; allowed: webhook and secret"),
        ("[after_call]\nsummary = 'yes'", "after_call.summary is 'yes'; allowed: true, false"),
        ("[after_call.fields]\nmood = 5", "after_call.fields.mood is 5; allowed: a table"),
        ("[after_call.fields]\nmood = { description = 'x', type = 'text' }", "after_call.fields.mood.type is 'text'"),
        (
            "[after_call.fields]\nmood = { description = 'x', enum = [1] }",
            "after_call.fields.mood.enum is [1]; allowed",
        ),
        (
            "[after_call.fields]\nn = { description = 'x', type = 'integer', enum = [true] }",
            "after_call.fields.n.enum is",
        ),
        ("[after_call.fields]\nmood = { description = 'x', enum = [] }", "after_call.fields.mood.enum is []"),
        ("[after_call.fields]\n'a b' = { description = 'x' }", "after_call.fields.'a b' is no name"),
        (HOOK.replace("find", "hang_up"), "webhooks.hang_up is the name of a tool that is there already; allowed: "),
        (HOOK.replace("find", "Find"), "webhooks.'Find' is no name; allowed: a name of a-z 0-9 _"),
        (HOOK.replace("find", "f" * 41), "webhooks.a text of 41 characters is no name"),
        (HOOK + "timeout_s = 31", "webhooks.find.timeout_s is 31; allowed: a number from 1 to 30"),
        (HOOK + "method = 'get'", "webhooks.find.method is 'get'"),
        (HOOK + "methods = 'GET'", "webhooks.find.methods is unknown (did you mean webhooks.find.method?)"),
        ("[webhooks]\nfind = 5", "webhooks.find is 5; allowed: a table that begins with the line [webhooks.find]"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, said: str) -> None:
    assert any(wrong.startswith(said) for wrong in faults(tmp_path, GOOD + text)), faults(tmp_path, GOOD + text)


@pytest.mark.parametrize(
    "line", ['number = "5551234567"', 'number = "sip:a@b.example"', "warm = 1", "descripton = 'x'"]
)
def test_bad_targets(tmp_path: Path, line: str) -> None:
    key = line.partition(" ")[0]
    rows = [row for row in TARGET.splitlines() if not row.startswith(key)]
    wrong = fault(tmp_path, GOOD + '[transfer]\nhuman = "desk"\n' + "\n".join([*rows, line]))
    assert wrong.startswith(f"transfer.to.desk.{key} is ")


@pytest.mark.parametrize("line", ["length = 0", "length = 33", "length = '4'", "sensitive = 'yes'", "description = 4"])
def test_bad_digits(tmp_path: Path, line: str) -> None:
    described = "" if line.startswith("description") else "description = 'x'\n"
    wrong = fault(tmp_path, GOOD + "tools = ['ask_for_digits']\n[digits.pin]\n" + described + line)
    assert wrong.startswith(f"digits.pin.{line.partition(' ')[0]} is ")


def test_all_faults_of_all_tables_are_listed(tmp_path: Path) -> None:
    text = (
        GOOD
        + "tools = ['transfer_call']\n[parameters]\nnow = 'x'\n[digits.pin]\nlength = 0\n"
        + HOOK
        + "timeout_s = 0\n"
    )
    assert [line.split()[0] for line in faults(tmp_path, text)] == [
        "parameters.now",
        "tools",
        "digits.pin.description",
        "digits.pin.length",
        "digits",
        "webhooks.find.timeout_s",
    ]

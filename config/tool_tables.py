"""An agent's tables about tools and calls, read with their rules: what is wrong is added to the file's faults."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from config.addresses import address, headers, secret
from config.faults import shown, suggestion
from config.schemas import SCHEMA_ALLOWED, schema_fault, sure_names
from config.table import Table
from config.tools import TOOLS, AfterCall, Digits, Target, Transfer, WebhookTool

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NAME_ALLOWED = "a name of a-z 0-9 _ that begins with a letter, 1 to 40 characters"
# Empty too: not every text has something to put there.
_PARAMETER_VALUE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,500}")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_METHODS = ("POST", "GET", "PUT", "PATCH", "DELETE")
_FIELD_VALUES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def read_parameters(table: Table, taken: Collection[str]) -> dict[str, str]:
    """The parameters of a call with their defaults; `taken` are names that already mean something."""
    parameters = {}
    for name in table.names(_NAME, _NAME_ALLOWED):
        if name in taken:
            table.refuse(name, "is known of every call", "a name besides " + ", ".join(taken))
        parameters[name] = table.form(name, _PARAMETER_VALUE, "a text of one line, 0 to 500 characters", "")
    return parameters


def read_transfer(file: Table, tools: Sequence[str]) -> Transfer:
    table = file.table("transfer")
    to = table.table("to")
    targets = {name: _target(to.table(name)) for name in to.names(_NAME, _NAME_ALLOWED)}
    human = table.optional_text("human")
    if human is not None and human not in targets:
        wrong = f"is {shown(human)}, which is not in transfer.to{suggestion(human, targets)}"
        table.refuse("human", wrong, ", ".join(targets) or "a name of a table [transfer.to.NAME]")
    if "transfer_call" in tools and not len(to):
        file.refuse("tools", "has transfer_call, but nobody to transfer to", "it beside a table [transfer.to.NAME]")
    if "transfer_call" not in tools and human is None and file.has("transfer"):
        file.refuse("transfer", "is there for nothing", "it with transfer_call in tools, or with transfer.human")
    return Transfer(human, table.whole("timeout_s", 20, 5, 60), targets)


def _target(table: Table) -> Target:
    return Target(
        number=table.form("number", _NUMBER, "an E.164 number such as '+15551234567'"),
        description=table.text("description"),
        warm=table.flag("warm"),
    )


def read_digits(file: Table, tools: Sequence[str]) -> dict[str, Digits]:
    table = file.table("digits")
    asked = {name: _digits(table.table(name)) for name in table.names(_NAME, _NAME_ALLOWED)}
    if "ask_for_digits" in tools and not len(table):
        file.refuse("tools", "has ask_for_digits, but nothing to ask for", "it beside a table [digits.NAME]")
    if "ask_for_digits" not in tools and file.has("digits"):
        file.refuse("digits", "is there for nothing", "it with ask_for_digits in tools")
    return asked


def _digits(table: Table) -> Digits:
    return Digits(table.text("description"), table.optional_whole("length", 1, 32), table.flag("sensitive"))


def read_webhooks(table: Table, environ: Mapping[str, str]) -> dict[str, WebhookTool]:
    webhooks = {}
    for name in table.names(_NAME, _NAME_ALLOWED):
        if name in TOOLS:
            table.refuse(name, "is the name of a tool that is there already", "a name besides " + ", ".join(TOOLS))
        webhooks[name] = _webhook(table.table(name), environ)
    return webhooks


def _webhook(table: Table, environ: Mapping[str, str]) -> WebhookTool:
    schema = table.raw("parameters") if table.has("parameters") else {"type": "object", "properties": {}}
    wrong = schema_fault(schema)
    if wrong:
        table.refuse("parameters", wrong, SCHEMA_ALLOWED)
        schema = {"type": "object", "properties": {}}
    return WebhookTool(
        description=table.text("description"),
        # Without its schema nobody knows which names an address may have.
        url=address(table, "url", None if wrong else sure_names(schema)),
        method=table.choice("method", _METHODS),
        headers=headers(table.table("headers"), environ),
        timeout_s=table.number("timeout_s", 8, 1, 30),
        allow_private=table.flag("allow_private"),
        parameters=schema,
    )


def read_after_call(table: Table, environ: Mapping[str, str]) -> AfterCall:
    fields = table.table("fields")
    read = AfterCall(
        webhook=address(table, "webhook") if table.has("webhook") else None,
        secret=secret(table, "secret", environ),
        allow_private=table.flag("allow_private"),
        summary=table.flag("summary"),
        fields={name: _field(fields.table(name)) for name in fields.names(_NAME, _NAME_ALLOWED)},
    )
    if table.has("webhook") != table.has("secret"):
        missing = "secret" if table.has("webhook") else "webhook"
        table.refuse(missing, "is missing", "webhook and secret together, or neither")
    return read


def _field(table: Table) -> dict[str, Any]:
    kind, description, values = table.choice("type", tuple(_FIELD_VALUES)), table.text("description"), table.raw("enum")
    field: dict[str, Any] = {"type": kind, "description": description}
    if values is None:
        return field
    if not isinstance(values, list) or not values or not all(_is(kind, value) for value in values):
        table.refuse("enum", f"is {shown(values)}", f"a list in [ ] of values of the type {kind}")
    return {**field, "enum": values}


def _is(kind: str, value: object) -> bool:
    # A TOML true is an int in Python.
    return isinstance(value, _FIELD_VALUES[kind]) and (kind == "boolean") == isinstance(value, bool)

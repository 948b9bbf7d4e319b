"""`python -m voice call TO`: the running server, asked to call somebody."""

from collections.abc import Mapping
from typing import Any

import click
import requests

from voice.commands.output import tell_json

_TIMEOUT_S = 15


def run(
    environ: Mapping[str, str],
    to: str,
    agent: str | None,
    parameters: tuple[str, ...],
    server: str | None,
    as_json: bool,
) -> None:
    token = environ.get("API_TOKEN", "").strip()
    if not token:
        raise click.ClickException("API_TOKEN is not set: the server lets nobody place calls without it")
    wrong = next((parameter for parameter in parameters if "=" not in parameter), None)
    if wrong:
        raise click.BadParameter(f"{wrong!r} is not NAME=VALUE", param_hint="--parameter")
    body: dict[str, object] = {"to": to, "parameters": dict(parameter.split("=", 1) for parameter in parameters)}
    if agent:
        body["agent"] = agent
    base = server or f"http://127.0.0.1:{environ.get('PORT', '').strip() or 8000}"
    placed = _post(f"{base.rstrip('/')}/api/calls", token, body)
    if as_json:
        tell_json(placed)
    else:
        click.echo(placed["call_sid"])


def _post(url: str, token: str, body: dict[str, object]) -> dict[str, Any]:
    """The server's answer; its error, or its silence, is the command's."""
    try:
        response = requests.post(url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_S)
        told = response.json()
    except requests.ConnectionError as error:
        raise click.ClickException(f"no server answers at {url}: start it, or name it with --server") from error
    except requests.RequestException as error:
        raise click.ClickException(f"{url} does not answer as the server would: {error}") from error
    if not response.ok:
        raise click.ClickException(f"{told.get('error')}: {told.get('message')}")
    return dict(told)

"""`python -m voice migrate`: the database, brought up to date."""

from collections.abc import Mapping

import click

from config.faults import ConfigError
from config.settings import Settings
from voice.commands.output import tell_json
from voice.errors import RecordsUnavailable
from voice.records.migrate import migrate


def run(environ: Mapping[str, str], wait_s: float, as_json: bool) -> None:
    try:
        migrate(Settings.database_of(environ), wait_s)
    except (ConfigError, RecordsUnavailable) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        tell_json({"up_to_date": True})
    else:
        click.echo("The database is up to date.")

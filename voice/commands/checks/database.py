"""The database at DATABASE_URL: whether it answers, and whether it has the tables of this version."""

from functools import partial

from voice.commands.checks.finding import Finding, Fix, Patient, failed, ok, warning
from voice.commands.kept import file_of
from voice.errors import RecordsUnavailable
from voice.records.database import Database
from voice.records.migrate import migrate, revisions

_WHAT = "database"
_TIMEOUT_S = 8.0
_MIGRATE = ".venv/bin/python -m voice migrate, or --fix; the server does it, too, when it starts"


def database(patient: Patient) -> list[Finding]:
    url = patient.settings.database_url
    fix = Fix("bring the database up to date", partial(migrate, url))
    path = file_of(url)
    if path is not None and not path.exists():
        return [warning(_WHAT, f"there is no {path} yet", _MIGRATE, fix)]
    asked = Database(url)
    try:
        now, known = asked.read(revisions, _TIMEOUT_S)
    except RecordsUnavailable as error:
        return [failed(_WHAT, f"does not answer: {error}", "is it up, and is DATABASE_URL right?")]
    finally:
        asked.close(1.0)
    if now == known[0]:
        return [ok(_WHAT, f"answers, and is up to date (revision {now})")]
    if now is not None and now not in known:
        return [warning(_WHAT, f"has revision {now} of a newer version of the server", "run that version")]
    why = "has no tables yet" if now is None else f"has revision {now}, this version wants {known[0]}"
    return [warning(_WHAT, why, _MIGRATE, fix)]

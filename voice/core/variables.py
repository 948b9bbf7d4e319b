"""Words in braces that stand for something of the call: `{caller}` in a greeting or in instructions."""

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with the value of each variable it names; braces around anything else stay as they are."""
    return _VARIABLE.sub(lambda match: values.get(match[1], match[0]), text)

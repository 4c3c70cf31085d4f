"""Words for settings that are wrong: one line for each, which names the variable and the mend and quotes no secret."""

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from db.address import AddressError


class SettingsError(Exception):
    """Settings that the daemon cannot run with: one line that names each variable and the mend, and no secret."""


class InWordsError(ValueError):
    """A mistake with a sentence of its own, which quotes no secret."""


def describe_mistakes(error: ValidationError, fields: Mapping[str, FieldInfo]) -> list[str]:
    """Return a sentence for each setting that pydantic refuses, made of its field's description."""
    said = {}
    for each in error.errors(include_input=False, include_url=False):
        field = str(each["loc"][0])
        form = fields[field].description
        if each["type"] == "missing":
            said[field] = f"{field.upper()} is missing: put {form} into .env"
        else:
            why = each.get("ctx", {}).get("error")
            # AddressError alone says more than the form, and its words quote nothing.
            more = f" ({why})" if isinstance(why, AddressError) else ""
            mend = f"{why}" if isinstance(why, InWordsError) else f"it takes {form}{more}"
            said[field] = f"{field.upper()} is wrong: {mend}"
    return list(said.values())

"""The fields of a head, of questions and of answers (RFC 9112 section 5): bounded by whoever has read it, pure."""

from collections.abc import Iterable


class FieldError(ValueError):
    """What is said in a head is no field, or is said twice."""


def read_fields(lines: Iterable[bytes]) -> dict[str, str]:
    """Values by their names in small letters. Raises FieldError: who says a thing twice may mean either."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise FieldError("a header is none")
        key = name.decode("latin-1").lower()
        if key in fields:
            raise FieldError("a header comes twice")
        fields[key] = value.strip().decode("latin-1")
    return fields

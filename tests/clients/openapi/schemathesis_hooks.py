"""Gives requests what schemathesis cannot guess: ids that exist, and values that must fit each other."""

import os
import uuid

import schemathesis

SESSIONS, ENDED, FILES = (os.environ[name].split(",") for name in ("SESSIONS", "ENDED", "FILES"))


def ids(operation):
    # The stream of an open session has no end.
    if operation.path.endswith("/events"):
        return ENDED
    return FILES if operation.path.startswith("/files") else SESSIONS


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Replaces most ids. Leaves some that do not exist, and those that are not ids."""
    try:
        drawn = uuid.UUID(path_parameters["id"]).int
    except (AttributeError, KeyError, TypeError, ValueError):
        return path_parameters
    known = ids(context.operation)
    chosen = drawn % (len(known) + 1)
    return path_parameters | {"id": known[chosen]} if chosen < len(known) else path_parameters


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Makes well-formed values right, which no schema can do."""
    fix_headers(case.headers or {}, case.meta.generation.mode.is_positive)
    if case.operation.path == "/uploads/sessions" and isinstance(case.body, dict):
        fix_session(case.body, case.headers or {})


def fix_headers(headers, is_positive):
    for name in ("Content-Digest", "Repr-Digest", "If-Match", "If-None-Match", "If-Unmodified-Since"):
        value = str(headers.get(name, ""))
        # schemathesis 4.32 takes the number 0 for a valid value, whatever the pattern.
        if is_positive and value == "0":
            del headers[name]
        # The digest of other bytes.
        elif value.startswith("sha-"):
            del headers[name]
        # A date with the wrong day of the week.
        elif value.endswith("GMT"):
            headers[name] = "Sun, 29 Nov 2026 12:00:00 GMT"


def fix_session(body, headers):
    # The key may be in both places only if it is the same.
    if "Idempotency-Key" in headers:
        body.pop("idempotency_key", None)
    # A time that has passed.
    if str(body.get("retain_until", "")) < "2100":
        body.pop("retain_until", None)
    # To JSON Schema, 1.0 is an integer. To the server it is not.
    size = body.get("total_size_bytes")
    if isinstance(size, float) and size.is_integer():
        body["total_size_bytes"] = int(size)

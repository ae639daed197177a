"""Registers our error codes with schemathesis, which by default recognizes only Apollo's codes."""

import pathlib
import re

from schemathesis.specs.graphql import validation

TABLE = pathlib.Path(__file__).with_name("api.md").read_text()
CODES = set(re.findall(r"^\| `([A-Z_]+)` \| \d+ \|", TABLE, re.MULTILINE))
assert "INTERNAL" in CODES and len(CODES) > 10, "the table of codes in docs/api.md has an unexpected format"

validation.SERVER_ERROR_MARKERS |= {"INTERNAL"}
validation.CLIENT_ERROR_MARKERS |= CODES - {"INTERNAL"}

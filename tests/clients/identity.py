"""Signs a token with PyJWT. Reads claims, key, algorithm and key id as JSON from standard input, and prints the token."""

import json
import sys

import jwt

given = json.load(sys.stdin)
print(jwt.encode(given["claims"], given["key"], algorithm=given["alg"], headers={"kid": given["kid"]}))

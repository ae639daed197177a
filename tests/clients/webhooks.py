"""Verifies a message of a webhook with the library from PyPI: `python webhooks.py SECRET`, with the message's headers and
body as JSON on standard input. Prints the event, or null if the library refuses the message."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

message = json.load(sys.stdin)
try:
    print(json.dumps(Webhook(sys.argv[1]).verify(message["body"], message["headers"])))
except WebhookVerificationError:
    print("null")

"""Masking: secret values become ***** in what is shown, in whichever form they were sent or came back.

https://argo-rollouts.readthedocs.io/en/stable/features/analysis/#analysis-template-arguments
"""

import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "*****"
SHOWN_CHARACTERS = 1024


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without secrets, and not too long to be kept."""
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _forms(secret: str) -> set[str]:
    """As it is, as part of a URL, of JSON, and in quotes; with and without the space around it."""
    texts = {secret, secret.strip()}
    return {form for text in texts for form in _written(text) if form}


def _written(text: str) -> tuple[str, ...]:
    as_json = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    return (text, quote(text), quote(text, safe=""), quote_plus(text), *as_json, repr(text)[1:-1])

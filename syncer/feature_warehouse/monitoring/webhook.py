"""Telling somebody: one JSON document to a webhook, such as Slack's.

The address of a webhook is its password, so no error here names it, nor does a traceback behind one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from feature_warehouse.errors import WebhookError

#: Seconds to wait for the connection, and for the answer.
TIMEOUT = 10.0


class _NoRedirects(HTTPRedirectHandler):
    """A POST that is redirected would arrive as a GET without its document: it counts as refused."""

    def redirect_request(self, *_: object) -> None:
        return None


def post(url: str, document: Mapping[str, object], timeout: float = TIMEOUT) -> None:
    """Posts ``document`` as JSON. Raises WebhookError unless the answer is one of success (200 to 299)."""
    try:
        known = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        known = False
    if not known:
        raise WebhookError("the webhook's address is no URL", "it begins with https://")
    body = json.dumps(document, ensure_ascii=False).encode()
    try:
        request = Request(url, data=body, headers={"Content-Type": "application/json; charset=utf-8"})
        with build_opener(_NoRedirects).open(request, timeout=timeout):
            return
    except HTTPError as error:
        status = error.code
        error.close()
        raise WebhookError(
            f"the webhook answered with status {status}", "is its address still valid, and does it take JSON?"
        ) from None
    except TimeoutError:
        reason = f"no answer within {timeout:g} s"
    except OSError as error:  # the reason of a URLError is the error of the socket
        cause = getattr(error, "reason", error)
        is_late = isinstance(cause, TimeoutError)
        reason = (
            f"no answer within {timeout:g} s" if is_late else getattr(cause, "strerror", None) or type(cause).__name__
        )
    except (HTTPException, ValueError) as error:
        reason = type(error).__name__
    raise WebhookError(f"the webhook cannot be reached: {reason}", "is the network, or a proxy, in the way?") from None

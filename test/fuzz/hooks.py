"""Signs every request of schemathesis as a user, and logs every reply. Loaded through SCHEMATHESIS_HOOKS."""

import base64
import gc
import hashlib
import json
import os
import re
import time
from urllib.parse import urlsplit

import requests
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Hypothesis makes many objects that live until the end: by default, a tenth of the time goes into looking at them again.
gc.set_threshold(100_000, 20, 20)

_given = json.loads(os.environ["UNIBUS_FUZZ"])
_key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(_given["seed"]))
_replies = open(_given["replies"], "a", encoding="utf-8")


def _body_of(request):
    body = request.body or b""
    if isinstance(body, str):
        return body.encode("utf-8")
    if isinstance(body, bytes):
        return body
    # Read a streamed body completely, so that it can be signed.
    request.body = body.read() if hasattr(body, "read") else b"".join(body)
    request.headers.pop("Transfer-Encoding", None)
    request.headers["Content-Length"] = str(len(request.body))
    return request.body


class Signed(requests.auth.AuthBase):
    """Returns the headers of a signed request, over exactly the bytes that are sent."""

    def __call__(self, request):
        url = urlsplit(request.url)
        target = url.path + ("?" + url.query if "?" in request.url else "")
        ts = str(int(time.time()))
        nonce = base64.b64encode(os.urandom(16)).decode()
        digest = hashlib.sha256(_body_of(request)).hexdigest()
        text = "\n".join(["unibus-request-v1", url.netloc, request.method, target, ts, nonce, digest])
        request.headers.update(
            {
                "x-unibus-host": url.netloc,
                "x-unibus-pub": _given["pub"],
                "x-unibus-ts": ts,
                "x-unibus-nonce": nonce,
                "x-unibus-body": digest,
                "x-unibus-sig": base64.b64encode(_key.sign(text.encode())).decode(),
            }
        )
        return request


schemathesis.auth.set_from_requests(Signed())


def _is_own_end(case):
    parameters = case.path_parameters or {}
    if str(parameters.get("sign_pub")).lower() == _given["pub"]:
        return True
    return case.operation.label == "DELETE /rooms/{id}" and parameters.get("id") == _given["room"]


@schemathesis.hook
def filter_case(context, case):
    """Skips requests that would remove the signer's access or the room: all later replies would be 401 or 410."""
    return not _is_own_end(case)


_rooms = 0


@schemathesis.hook
def before_call(context, case, kwargs):
    """Points every other room request at an existing room, unless it would delete the room."""
    global _rooms
    parameters = case.path_parameters or {}
    is_ulid = re.fullmatch("[0-7][0-9A-Z]{25}", str(parameters.get("id"))) is not None
    if not is_ulid or case.operation.label == "DELETE /rooms/{id}":
        return
    _rooms += 1
    if _rooms % 2 == 0:
        parameters["id"] = _given["room"]


@schemathesis.hook
def after_call(context, case, response):
    """Logs one line for each reply: the request and the complete reply."""
    line = {
        "operation": case.operation.label,
        "method": response.request.method,
        "url": response.request.url,
        "status": response.status_code,
        "headers": {name: values for name, values in response.headers.items()},
        "text": response.content.decode("latin-1"),
    }
    _replies.write(json.dumps(line) + "\n")
    _replies.flush()

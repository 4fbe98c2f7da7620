"""Hooks for Schemathesis: credentials, working values, and refusals of valid data that no schema can express."""

import base64
import itertools
import os
import re
import unicodedata
import uuid

import requests
import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

URL = os.environ["SYMBOLON_URL"]
OPERATOR = os.environ["SYMBOLON_OPERATOR_TOKEN"]
ORIGIN = os.environ["SYMBOLON_PUBLIC_ORIGIN"]
COOKIE = "__Host-symbolon"
PASSWORD = "correct horse battery"
BODY_LIMIT = 65536
RESET_TOKEN = "symr_[A-Za-z0-9_-]{64}"
# Preferences of a user add up over requests, so another user takes over after this many.
REQUESTS_OF_A_USER = 50

service = requests.Session()


def operator(method, path, **options):
    return service.request(
        method, f"{URL}/v1/operator{path}", headers={"Authorization": f"Bearer {OPERATOR}"}, **options
    )


def register(name):
    profile = {"name": "Ada Lovelace", "email": "ada@example.com"}
    reply = service.post(f"{URL}/v1/users", json={"login_name": name, "password": PASSWORD, "profile": profile})
    reply.raise_for_status()
    return reply.json()["user_id"]


def session_of(user_id):
    """A new session's token; `None` if the user does not exist or is suspended."""
    reply = operator("POST", f"/users/{user_id}/sessions", json={})
    return reply.json()["token"] if reply.ok else None


class Users:
    """Users of requests. Requests end sessions and delete users, so each gets a new session of an existing user."""

    def __init__(self):
        # The document's examples log in as ada.
        register("ada")
        self.admin = register("admin")
        operator(
            "PUT", f"/users/{self.admin}/permissions", json={"permissions": ["read", "write", "admin"]}
        ).raise_for_status()
        self.member = self.name = None
        self.requests = itertools.count()
        self.owners = {}

    def token_for(self, path_parameters):
        user_id = path_parameters.get("user_id")
        if "session_id" in path_parameters:
            user_id = self.owners.get(path_parameters["session_id"], "me")
        if user_id in (None, "me") or not is_uuid(user_id):
            return self.token_of_a_member()
        # Only an admin is told that a user does not exist.
        return session_of(user_id) or session_of(self.admin)

    def token_of_a_member(self):
        if next(self.requests) % REQUESTS_OF_A_USER == 0:
            self.member = None
        token = self.member and session_of(self.member)
        if not token:
            self.name = f"member-{uuid.uuid4().hex}"
            self.member = register(self.name)
            token = session_of(self.member)
        return token

    def session_of_a_member(self):
        token = self.token_of_a_member()
        reply = service.get(f"{URL}/v1/session", headers={"Authorization": f"Bearer {token}"})
        self.owners[reply.json()["session_id"]] = self.member
        return reply.json()["session_id"]

    def reset_token(self):
        self.token_of_a_member()
        return operator("POST", f"/users/{self.member}/password-reset").json()["token"]

    def remember_sessions(self, token, body):
        """Notes the owners of sessions in a response, so that requests about one of them come from its user."""
        sessions = body.get("sessions", []) if isinstance(body, dict) else []
        self.owners |= {session["session_id"]: user_of(token) for session in sessions}
        session = body.get("session") if isinstance(body, dict) else None
        if session:
            self.owners[session["session_id"]] = session["user_id"]


def is_uuid(text):
    try:
        return str(uuid.UUID(text)) == str(text).lower()
    except (ValueError, AttributeError, TypeError):
        return False


def user_of(token):
    """The user id that a token begins with."""
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(token.removeprefix("sym_"))[:16]))


users = Users()
by_cookie = itertools.cycle([False, False, False, True])
real = itertools.cycle([True, False])


@schemathesis.auth(refresh_interval=None)
class Credentials:
    """The operator's token, or a session's, as a bearer token or like a browser."""

    def get(self, case, context):
        security = case.operation.definition.raw.get("security", [])
        if not security or {} in security:
            return None
        if {"operator_token": []} in security:
            return OPERATOR
        return users.token_for(case.path_parameters or {})

    def set(self, case, token, context):
        if token != OPERATOR and next(by_cookie):
            case.cookies = {**(case.cookies or {}), COOKIE: token}
            case.headers["Origin"] = ORIGIN
        else:
            case.headers["Authorization"] = f"Bearer {token}"


def operation_of(context):
    return context.operation.definition.raw.get("operationId") if context.operation else None


def texts(body, *members):
    return isinstance(body, dict) and all(isinstance(body.get(member), str) and body[member] for member in members)


# Text is replaced by text that fits the schema exactly if the other does: invalid values stay invalid.
@schemathesis.hook
def map_body(context, body):
    """Reset tokens that work; for half of the requests also free names, and passwords that are right or acceptable."""
    operation = operation_of(context)
    if operation not in REAL_BODIES or not texts(body, *REAL_BODIES[operation]):
        return body
    if operation == "reset_password" and re.fullmatch(RESET_TOKEN, body["token"]):
        body = {**body, "token": users.reset_token()}
    if not next(real):
        return body
    if operation == "register":
        return {**body, "login_name": made_unique(body["login_name"], 1), "password": made_unique(body["password"], 8)}
    if operation == "change_password":
        return {**body, "current_password": PASSWORD, "new_password": made_unique(body["new_password"], 8)}
    if operation == "reset_password":
        return {**body, "new_password": made_unique(body["new_password"], 8)}
    users.token_of_a_member()
    return {**body, "login_name": users.name, "password": PASSWORD}


REAL_BODIES = {
    "register": ["login_name", "password"],
    "change_password": ["current_password", "new_password"],
    "login": ["login_name", "password"],
    "reset_password": ["token", "new_password"],
}


def made_unique(text, min_length):
    """A text of allowed length with a random suffix; another one unchanged."""
    return f"{text}-{uuid.uuid4().hex}" if min_length <= len(text) <= 200 else text


@schemathesis.hook
def map_path_parameters(context, parameters):
    """Existing users and sessions, for half of the requests that name one."""
    parameters = parameters or {}
    if is_uuid(parameters.get("user_id")) and next(real):
        users.token_of_a_member()
        return {**parameters, "user_id": users.member}
    if re.fullmatch("[0-9a-f]{32}", str(parameters.get("session_id"))) and next(real):
        return {**parameters, "session_id": users.session_of_a_member()}
    return parameters


@schemathesis.hook
def before_call(context, case, kwargs):
    """A login that asks for a cookie comes from a page of the service."""
    if case.path == "/v1/login" and isinstance(case.body, dict) and case.body.get("cookie") is True:
        case.headers["Origin"] = ORIGIN


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code == 200 and "application/json" in response.headers.get("content-type", [""])[0]:
        token = (case.headers.get("Authorization") or "").removeprefix("Bearer ") or (case.cookies or {}).get(COOKIE)
        if case.operation.definition.raw.get("operationId") in ("list_sessions", "login", "issue_session"):
            users.remember_sessions(token, response.json())


# Default_Ignorable_Code_Point outside of the general category Cf (Unicode's DerivedCoreProperties.txt).
IGNORABLE = {
    0x34F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x2800,
    0x3164,
    0xFFA0,
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE10),
    *range(0xE0000, 0xE1000),
}


def canonical(text):
    for _ in range(4):
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text


def is_invisible(character):
    return unicodedata.category(character)[0] in "CZ" or ord(character) in IGNORABLE


def has_other_length_composed(password):
    return not 8 <= len(unicodedata.normalize("NFC", password)) <= 256


def deepest(value):
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(deepest, members), default=0)


# Rules that no JSON Schema can express: the field, the refusal, and whether the value breaks the rule. Names are judged
# by their canonical form, for which a schema has no Unicode tables. Only the service knows which passwords are guessed
# first, which text is an IPv6 address, and which instances there are.
BEYOND_SCHEMAS = [
    (
        "login_name",
        "must not contain white space, control or invisible characters",
        lambda value: any(map(is_invisible, canonical(value))),
    ),
    (
        "login_name",
        "must use one script in common use, or Latin with Chinese, Japanese or Korean, and no symbols other than "
        "ASCII ones",
        lambda value: not canonical(value).isascii(),
    ),
    ("login_name", "must be at most 254 characters long", lambda value: len(canonical(value)) > 254),
    ("login_name", "must not be empty", lambda value: canonical(value) == ""),
    ("password", "must have 8 to 256 characters", has_other_length_composed),
    ("new_password", "must have 8 to 256 characters", has_other_length_composed),
    ("password", "must differ from the login name", lambda value: True),
    ("password", "is too easy to guess", lambda value: True),
    ("new_password", "must differ from the login name", lambda value: True),
    ("new_password", "is too easy to guess", lambda value: True),
    ("token", "is unknown, used or expired", lambda value: True),
    ("url", "must be http://, a host and an optional port, such as http://10.0.0.7:8080", lambda value: "[" in value),
    ("id", "belongs to an instance with another url", lambda value: True),
]


def is_beyond_schemas(body, error):
    field, detail = error["field"], error["detail"]
    # Limits of a document's depth, and of its size after a change.
    if detail == "must not nest deeper than 32 levels":
        return deepest(body) > 32
    if field == "preferences" and detail.startswith("must have at most 65536 bytes as JSON"):
        return True
    return any(
        field == known and detail == refusal and broken(body[field]) for known, refusal, broken in BEYOND_SCHEMAS
    )


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a failure counts. A schema says which requests are well-formed, not which the state allows."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    if response.status_code == 412:
        return case.headers.get("If-Match") in (None, "*")
    if response.status_code == 413:
        return len(response.request.body or b"") <= BODY_LIMIT
    if response.status_code == 422:
        errors = response.json().get("errors", [])
        return not errors or not all(is_beyond_schemas(case.body, error) for error in errors)
    return True

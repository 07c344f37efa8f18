"""Where a database is: its URL, and which collection of moments in it."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from ..errors import ConfigError

COLLECTION = "moments"  # where a URL names none
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,29}")
_QDRANT = {"qdrant": "http", "qdrants": "https"}
_POSTGRES = ("postgresql", "postgres")
_SECRETS = ("password", "sslpassword", "passfile")
_FORMS = "qdrant://HOST:PORT/COLLECTION or postgresql://USER@HOST/DATABASE#COLLECTION"


@dataclass(frozen=True)
class Target:
    """A collection of moments in a database.

    Attributes:
        engine: qdrant or postgres.
        url: as the engine's own client takes it; may hold a password, so it is never printed.
        collection: the name of its tables, or of a collection.
        shown: for people.
    """

    engine: str
    url: str
    collection: str
    shown: str

    def __repr__(self) -> str:
        return f"Target({self.shown})"

    def hidden(self, text: str) -> str:
        """A message without the passwords that the URL holds: what a client says may quote it."""
        parts = urlsplit(self.url)
        user = parts.netloc.rpartition("@")[0]
        secrets = [
            user.partition(":")[2],
            *(value for key, value in parse_qsl(parts.query) if key in _SECRETS),
        ]
        for secret in (form for one in secrets for form in (one, unquote(one)) if one):
            text = text.replace(secret, "***")
        return text


def is_target(text: str) -> bool:
    """Whether a text is a URL, right or wrong, and not a path. One slash of a known scheme is a slip."""
    return re.match(r"[a-z][a-z0-9+.-]+://|(qdrants?|postgres(ql)?):/", text) is not None


def parse_target(text: str) -> Target:
    """The collection that a URL names.

    Raises:
        ConfigError: it is no such URL; says what is expected, without a password that it may hold.
    """
    scheme, _, _ = text.partition(":")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port if scheme in _QDRANT else None
    except ValueError:  # what it says quotes parts of the URL
        raise ConfigError(f"the {scheme} URL cannot be read. Expected {_FORMS}.") from None
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(
            f"the {scheme} URL has an '@' behind the host: write '/', '#', '?' and '@' of a password as "
            f"%2F, %23, %3F and %40. Expected {_FORMS}."
        )
    if scheme in _QDRANT and "://" in text:
        name = parts.path.strip("/")
        if not host or "/" in name or parts.query or parts.fragment or parts.username is not None:
            raise ConfigError(
                f"{scheme}://{host or ''}{parts.path}: expected {scheme}://HOST:PORT/COLLECTION and nothing "
                "else; an API key is read from QDRANT_API_KEY."
            )
        place = f"[{host}]" if ":" in host else host
        port = port or 6333
        name = _named(name or COLLECTION)
        return Target(
            "qdrant", f"{_QDRANT[scheme]}://{place}:{port}", name, f"{scheme}://{place}:{port}/{name}"
        )
    if scheme in _POSTGRES and "://" in text:
        url, name = text.partition("#")[0], _named(parts.fragment or COLLECTION)
        user = parts.netloc.rpartition("@")[0].partition(":")[0]
        place = parts.netloc.rpartition("@")[2]
        public = [pair for pair in parse_qsl(parts.query) if pair[0] not in _SECRETS]
        netloc = f"{user}@{place}" if user else place
        shown = urlunsplit((scheme, netloc, parts.path, urlencode(public, safe="/"), name))
        if not netloc:  # urlunsplit leaves out slashes that libpq needs
            shown = shown.replace(f"{scheme}:", f"{scheme}://", 1)
        return Target("postgres", url, name, shown)
    raise ConfigError(f"{scheme}: names no database that is known. Expected {_FORMS}.")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot name a collection: expected up to 30 letters, digits, '_', '.' and '-'."
        )
    return name

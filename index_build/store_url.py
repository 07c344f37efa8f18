"""The URL of a storage as people may see it: without who asks, and without what follows a question mark, as
that may be a signature.
"""

import re
from urllib.parse import quote, unquote

from mmn_index.errors import ConfigError

_HIDDEN = "***"


def shown(url: str) -> str:
    """A URL without names, passwords and a query.

    >>> shown("sftp://me:secret@host/run"), shown("s3://bucket/a@b"), shown("https://host/run?token=secret")
    ('sftp://***@host/run', 's3://bucket/a@b', 'https://host/run?***')
    """
    scheme, who, rest = _parts(url)
    place, mark, _ = rest.partition("?")
    return f"{scheme}{f'{_HIDDEN}@' if who else ''}{place}{f'?{_HIDDEN}' if mark else ''}"


def check_login(url: str) -> None:
    """Refuse a login of which a part would be taken for something else, and printed.

    Raises:
        ConfigError: it has a character that has to be written otherwise.
    """
    if re.search("[/?#@]", _parts(url)[1]):
        raise ConfigError(
            f"--store {shown(url)}: write '/', '?', '#' and '@' of a user name or password as %2F, %3F, %23 "
            "and %40."
        )


def hidden(url: str, text: str) -> str:
    """What a storage's package says, without the same: it may quote the URL."""
    _, who, rest = _parts(url)
    user, _, password = who.partition(":")
    query = rest.partition("?")[2]
    secrets = [who if password else "", password, query]
    secrets += [pair.partition("=")[2] for pair in re.split("[&;]", query)]
    forms = {form for one in secrets for form in (one, unquote(one), quote(unquote(one))) if form}
    for secret in sorted(forms, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    for name in {user, unquote(user)} - {""}:  # it may be a part of other words
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _HIDDEN, text)
    return text


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme with its slashes, who asks, and the rest.

    Of a password that holds a slash, which should have been written as %2F, nothing is in the rest either.
    """
    scheme = re.match(r"([A-Za-z][\w+.-]*://)?", url)[0]  # type: ignore[index]
    rest = url.removeprefix(scheme)
    first = rest.partition("/")[0]
    bare_password = re.search(r":(?!\d*$)", first) is not None and not first.startswith("[")
    end = first.rfind("@") if "@" in first else rest.rfind("@") if bare_password else -1
    return scheme, rest[: max(end, 0)], rest[end + 1 :]

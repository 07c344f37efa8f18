"""What a server is told at its start."""

import re
from contextlib import suppress
from dataclasses import dataclass, fields
from ipaddress import ip_address
from pathlib import Path

from ..errors import ConfigError

_VISIBLE = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"\*|https?://[^/\s?#@]+")  # as browsers send it: a slash at the end is another one


def is_local(host: str) -> bool:
    """Whether a name, or an address without brackets, can only mean the machine itself."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


@dataclass(frozen=True)
class Settings:
    """All that shapes a server; docs/serving.md has the table.

    Raises:
        ConfigError: a value out of range, or an address that others reach without a token.
    """

    indexes: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None  # what callers send as `Authorization: Bearer TOKEN`
    no_auth: bool = False  # others may reach the server without a token
    origins: tuple[str, ...] = ()  # pages of other hosts that may call it (CORS)
    device: str = "cpu"
    ray: str | None = None  # a Ray cluster whose nodes search; see cluster.connect
    replicas: int = 1  # nodes that hold each moment, of such a cluster
    workers: int = 1  # processes that answer
    max_connections: int = 1000  # of one process
    max_k: int = 1000  # moments of an answer
    max_hits: int = 20_000  # moments of all answers of a request
    max_queries: int = 256  # sentences of a request
    max_query_length: int = 2000  # characters of a sentence
    max_body: int = 1 << 20  # bytes of a request
    body_wait: float = 30.0  # seconds that each piece of a body may take to come
    batch: int = 64  # sentences that are searched together
    batch_wait: float = 0.005  # seconds that a query waits for others
    max_waiting: int = 1024  # sentences that may wait
    cache: int = 4096  # embeddings of sentences that are kept
    decoders: int = 2  # threads that make pictures
    max_pictures: int = 64  # that may be asked for at the same time
    encoders: int = 2  # clips that are made at the same time
    max_clips: int = 16  # that may be asked for at the same time
    max_clip: float = 300.0  # seconds of a clip
    work_wait: float = 60.0  # seconds that a picture or a clip may take to be made
    transcoders: int = 4  # videos that are encoded while they are watched
    max_export: int = 1000  # moments of an export
    max_export_clips: int = 50  # of them, as clips
    cache_dir: Path | None = None  # of clips and pictures; None for the user's own
    cache_size: float = 2.0  # GB of it
    refresh: float = 0.5  # seconds between looks for a newer version of an index

    @property
    def only_local(self) -> bool:
        """Whether nothing but the address keeps others out."""
        return self.token is None and not self.no_auth

    def __post_init__(self) -> None:
        if not self.indexes:
            raise ConfigError("there is no index to serve.")
        if self.token is not None and self.no_auth:
            raise ConfigError("--no-auth lets everybody in, --token does not: leave out one of them.")
        if self.token is not None and len(self.token) < 16:
            raise ConfigError(
                f"--token has {len(self.token)} characters, expected at least 16. For one that nobody "
                "guesses: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is not None and not _VISIBLE.fullmatch(self.token):
            raise ConfigError(
                "--token has blanks or characters beyond ASCII, which callers cannot send in a header."
            )
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"--origin {origin}: expected a scheme and a host without a path, such as "
                    "https://films.example or http://localhost:3000."
                )
        if not is_local(self.host) and self.token is None and not self.no_auth:
            raise ConfigError(
                f"--host {self.host} can be reached from other machines: give a --token that callers send, "
                "or --no-auth to let everybody in."
            )
        if self.ray is None and self.replicas != 1:
            raise ConfigError(
                f"--replicas {self.replicas}: only nodes of a cluster hold copies. Name it with --ray."
            )
        if self.ray is not None and self.workers > 1:
            raise ConfigError(
                f"--workers {self.workers}: the nodes of the cluster do the work, and each process would "
                "begin searchers of its own on all of them. Leave out --workers with --ray."
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if (field.name in ("workers", "replicas") or field.name.startswith("max_")) and value < 1:
                raise ConfigError(f"--{field.name.replace('_', '-')} is {value}, expected at least 1.")

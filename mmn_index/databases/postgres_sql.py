"""The statements of the PostgreSQL engine. Names are quoted, values are parameters, always.

COLLECTION          one row: what is published, and what is under way
COLLECTION_videos   a row a video, with the columns of the user's
COLLECTION_lists    the centres of the coarse lists
COLLECTION_moments  a row a moment, a partition a segment

pgvector's `<#>` is the negative inner product. Its two sides are halfvec: a query is rounded to float16
there, and what that takes off a score is a part of the bound that an exact answer is proven with.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from psycopg import sql
from psycopg.sql import SQL, Composed, Identifier

from ..index.selection import Condition
from ..scoring import IOU_SCALE, Score
from .columns import Column, user_columns, value_of
from .contract import Ask, Chosen, Published

_TYPES = {
    "int": "bigint",
    "large": "numeric(20)",
    "float": "double precision",
    "bool": "boolean",
    "text": 'text COLLATE "C"',  # compared byte by byte, as the index does
    "decimal": "numeric",
    "instant": "timestamptz",
    "local": "timestamp",
    "date": "date",
    "time": "time",
}
_FLOOR, _LEAST = 1e-6, -0.9  # as in scoring.py
Statement = tuple[Composed, list[Any]]
Part = tuple[sql.Composable, list[Any]]


class Names:
    """What the tables of a collection are called."""

    def __init__(self, collection: str) -> None:
        self.about = Identifier(collection)
        self.videos = Identifier(f"{collection}_videos")
        self.lists = Identifier(f"{collection}_lists")
        self.moments = Identifier(f"{collection}_moments")
        self.collection = collection

    def partition(self, key: str) -> str:
        """The table of a segment."""
        return f"{self.collection}_{key}"


def make_tables(names: Names) -> list[Composed]:
    """All tables, where they are not there yet."""
    return [
        SQL(
            "CREATE TABLE IF NOT EXISTS {} (single boolean PRIMARY KEY DEFAULT true CHECK (single), "
            "published text, staging text)"
        ).format(names.about),
        SQL("INSERT INTO {} DEFAULT VALUES ON CONFLICT DO NOTHING").format(names.about),
        SQL(
            "CREATE TABLE IF NOT EXISTS {} (video bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            'segment text COLLATE "C" NOT NULL, number integer NOT NULL, video_id text COLLATE "C" NOT NULL, '
            'uri text COLLATE "C", duration double precision NOT NULL, UNIQUE (segment, number))'
        ).format(names.videos),
        SQL(
            "CREATE TABLE IF NOT EXISTS {} (generation integer, list integer, contrastive halfvec NOT NULL, "
            "iou halfvec, hub real NOT NULL, PRIMARY KEY (generation, list))"
        ).format(names.lists),
        SQL(
            'CREATE TABLE IF NOT EXISTS {} (segment text COLLATE "C" NOT NULL, "row" integer NOT NULL, '
            'video bigint NOT NULL, "window" integer NOT NULL, tube integer, start real NOT NULL, '
            '"end" real NOT NULL, hub real NOT NULL, list integer, contrastive halfvec NOT NULL, iou '
            "halfvec) "
            "PARTITION BY LIST (segment)"
        ).format(names.moments),
    ]


def columns_of_tables(names: Names) -> Statement:
    """The names of the columns of those tables that are there."""
    tables = [names.collection, *(f"{names.collection}_{part}" for part in ("videos", "lists", "moments"))]
    return SQL(
        "SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = "
        "c.oid WHERE c.relname = ANY(%s) AND pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT "
        "a.attisdropped GROUP BY c.relname"
    ).format(), [tables]


def make_columns(names: Names, columns: Sequence[Column], known: Sequence[Column]) -> list[Composed]:
    """The columns of the user's, where they are not there yet.

    Args:
        known: columns that are there. Another one of the same name is left of an earlier version and may be
            of another type: it goes.
    """
    return [
        SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}, ADD COLUMN {} {}").format(
            names.videos, key := Identifier(column.key), key, SQL(_TYPES[column.kind])
        )
        for column in user_columns(columns)
        if column not in known
    ]


def make_partition(names: Names, key: str) -> list[Composed]:
    """The table of a segment, visible to nobody before it is published.

    It is attached once it stands, which does not wait for those who read.
    """
    own = Identifier(names.partition(key))
    vectors = SQL(", ").join(
        SQL("ALTER COLUMN {} SET STORAGE EXTERNAL").format(Identifier(name))
        for name in ("contrastive", "iou")
    )
    return [
        SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS)").format(own, names.moments),
        SQL("ALTER TABLE {} {}").format(own, vectors),
        SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(
            names.moments, own, sql.Literal(key)
        ),
    ]


def make_indexes(names: Names, key: str) -> list[Composed]:
    """Of a segment that is complete."""
    own = names.partition(key)
    return [
        SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
            Identifier(f"{own}_{column}"), Identifier(own), Identifier(column)
        )
        for column in ("list", "video")
    ]


def count(names: Names, published: Published, chosen: Chosen) -> Statement:
    """How many moments may answer."""
    where, values = _where(names, published, chosen)
    return SQL("SELECT count(*) FROM {} m WHERE {}").format(names.moments, where), values


def best(
    names: Names, published: Published, ask: Ask, chosen: Chosen, limit: int, probes: int | None
) -> Statement:
    """The moments with the best scores, with their vectors."""
    score, scored = _score(ask, published.spaces)
    where, values = _where(names, published, chosen)
    if probes is not None:
        centre, centred = _score(ask, published.spaces)
        where = SQL(
            "{} AND m.list = ANY(ARRAY(SELECT m.list FROM {} m WHERE m.generation = %s ORDER BY {} DESC "
            "LIMIT %s))"
        ).format(where, names.lists, centre)
        values = [*values, published.generation, *centred, probes]
    inner = SQL("SELECT m.*, {} AS score FROM {} m WHERE {} ORDER BY score DESC LIMIT %s").format(
        score, names.moments, where
    )
    return _listed(names, inner), [*scored, *values, limit]


def of_video(names: Names, published: Published, video_id: str) -> Statement:
    """All moments of a video."""
    where, values = _where(names, published, Chosen())
    inner = SQL(
        "SELECT m.*, 0::double precision AS score FROM {} m WHERE {} AND m.video = ANY(ARRAY(SELECT video "
        "FROM {} WHERE video_id = %s))"
    ).format(names.moments, where, names.videos)
    return _listed(names, inner), [*values, video_id]


def _listed(names: Names, inner: Composed) -> Composed:
    return SQL(
        'SELECT d.segment, d."row", v.number, v.video_id, v.uri, d.start, d."end", d.tube, d.score, d.hub, '
        "d.contrastive, d.iou FROM ({}) d JOIN {} v ON v.video = d.video"
    ).format(inner, names.videos)


def bound_of_others(ask: Ask, worst: float, longest: float) -> float:
    """What no moment's exact score is above whose score in SQL is not above `worst`: a query loses digits as
    float16, and pgvector adds up in float32.
    """
    score, total = ask.score, 0.0
    slope = {
        "collection": score.weight / score.tau,
        "contrastive": 1.0,
        "iou": 0.0,
        "product": score.power / (1 + _LEAST),
    }[score.name]
    for c, i in [(ask.contrastive, ask.iou), *([] if ask.against is None else [ask.against])]:
        lost = [float(np.linalg.norm(x - x.astype(np.float16).astype(np.float32))) for x in (c, i)]
        of_c, of_i = (longest * (part + 2**-22 * (len(c) + 8)) for part in lost)
        total += of_c * slope + of_i * IOU_SCALE * (score.name != "contrastive")
    # Below a cosine of _LEAST `product` is steeper, and below this.
    least = score.power * math.log(0.5 + 0.5 * _LEAST + 1e-3) if score.name == "product" else -math.inf
    return max(worst + total + 1e-9, least)


def _score(ask: Ask, spaces: int) -> Part:
    """The logarithmic score of `m`."""
    first, values = _one(ask.contrastive, ask.iou, ask.score, spaces)
    if ask.against is None:
        return first, values
    second, others = _one(*ask.against, ask.score, spaces)
    # f + log(p / (p + p')) = f - softplus(f' - f); exp raises an error where it underflows.
    both = SQL(
        "(SELECT f - greatest(g - f, 0) - ln(1 + exp(greatest(-abs(g - f), -700))) FROM (SELECT {} AS f, "
        "{} AS g OFFSET 0) two)"
    ).format(first, second)
    return both, [*values, *others]


def _one(contrastive: np.ndarray, iou: np.ndarray, score: Score, spaces: int) -> Part:
    c: sql.Composable = SQL("-(m.contrastive <#> %s::halfvec)")
    with_c: list[Any] = [vector_text(contrastive)]
    if score.hub:
        c, with_c = SQL("({} - %s::double precision * m.hub)").format(c), [*with_c, score.hub]
    if score.name == "contrastive":
        return c, with_c
    match: sql.Composable = SQL("- ln(1 + exp({} * (m.iou <#> %s::halfvec)))").format(sql.Literal(IOU_SCALE))
    with_i: list[Any] = [vector_text(iou)]
    if score.name == "iou":
        return match, with_i
    if score.name == "collection":
        whole = SQL("(%s::double precision * {} {})").format(c, match)
        return whole, [score.weight / score.tau, *with_c, *with_i]
    whole = SQL("(%s::double precision * ln(greatest(0.5 * {} + 0.5, {})) {})").format(
        c, sql.Literal(_FLOOR), match
    )
    return whole, [score.power, *with_c, *with_i]


def vector_text(values: np.ndarray) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(f"{value:.8g}" for value in values.tolist()) + "]"


def _where(names: Names, published: Published, chosen: Chosen) -> Part:
    """What may be found, as a condition on `m`."""
    restriction = chosen.restriction
    terms: list[sql.Composable] = [SQL("m.segment = ANY(%s::text[])")]
    values: list[Any] = [published.keys]
    for key, videos in published.dead:
        terms.append(
            SQL(
                "NOT (m.segment = %s AND m.video = ANY(ARRAY(SELECT video FROM {} WHERE segment = %s AND "
                "number = ANY(%s::integer[]))))"
            ).format(names.videos)
        )
        values += [key, key, videos]
    for bound, form in (
        (restriction.after, "m.start >= %s::real"),
        (restriction.before, 'm."end" <= %s::real'),
        (restriction.min_length, 'm."end" - m.start >= %s::real'),
        (restriction.max_length, 'm."end" - m.start <= %s::real'),
    ):
        if bound is not None:
            terms.append(SQL(form))
            values.append(min(bound, 3e38))  # what is beyond has no place in a float32
    about, of_videos = _of_videos(published, chosen)
    if about:
        terms.append(
            SQL(
                "m.video = ANY(ARRAY(SELECT v.video FROM {} v WHERE v.segment = ANY(%s::text[]) AND {}))"
            ).format(names.videos, SQL(" AND ").join(about))
        )
        values += [published.keys, *of_videos]
    return SQL(" AND ").join(terms), values


def _of_videos(published: Published, chosen: Chosen) -> tuple[list[sql.Composable], list[Any]]:
    terms: list[sql.Composable] = []
    values: list[Any] = []
    if chosen.restriction.videos is not None:
        terms.append(SQL("v.video_id = ANY(%s::text[])"))
        values.append(list(chosen.restriction.videos))
    if chosen.restriction.exclude:
        terms.append(SQL("v.video_id <> ALL(%s::text[])"))
        values.append(list(chosen.restriction.exclude))
    columns = {column.name: column for column in published.columns}
    for condition in chosen.conditions:
        term, own = _condition(condition, columns.get(condition.column))
        terms.append(term)
        values += own
    return terms, values


def _condition(condition: Condition, column: Column | None) -> Part:
    """A comparison as Arrow makes it: nothing is like NaN, and what is not there fits nothing."""
    if column is None:
        return SQL("false"), []
    name, value = SQL("v.{}").format(Identifier(column.key)), value_of(condition.value)
    sign = SQL({"!=": "<>"}.get(condition.sign, condition.sign))
    if column.kind != "float":
        cast = SQL(_TYPES[column.kind].partition(" COLLATE")[0])
        return SQL("{} {} %s::{}").format(name, sign, cast), [value]
    if math.isnan(value):
        return (SQL("{} IS NOT NULL").format(name) if condition.sign == "!=" else SQL("false")), []
    number = SQL("{} {} %s::double precision").format(name, sign)
    if condition.sign == "!=":
        return number, [value]
    return SQL("({} AND {} <> 'NaN')").format(number, name), [value]

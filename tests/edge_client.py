"""Qdrant's real engine in this process (qdrant-edge-py), asked as its server is: the requests of qdrant-client,
translated one by one.

Only what mmn_index sends is known; anything else is an error, so that no condition or expression is lost on the
way. The package's Python takes True for 1 in a condition, so truth values are stored as 0 and 1 here; those are
left to the client's own engine.
"""

import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

_KINDS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Integer,
    "datetime": edge.PayloadSchemaType.Datetime,
}


class EdgeClient:
    """One collection, kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._sizes = folder, folder.with_suffix(".json")
        self._shard: Any = None
        if folder.exists():
            self._shard = edge.EdgeShard.load(str(folder))

    def close(self) -> None:
        if self._shard is not None:
            self._shard.close()

    def collection_exists(self, collection_name: str) -> bool:
        return self._shard is not None

    def create_collection(
        self, collection_name: str, vectors_config: Any, hnsw_config: Any, on_disk_payload: bool
    ) -> None:
        assert hnsw_config.m == 0
        vectors = {}
        for name, params in vectors_config.items():
            assert (params.distance, params.datatype) == (models.Distance.DOT, models.Datatype.FLOAT16)
            vectors[name] = edge.EdgeVectorParams(
                size=params.size,
                distance=edge.Distance.Dot,
                datatype=edge.VectorStorageDatatype.Float16,
                on_disk=params.on_disk,
            )
        index = edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000)
        self._folder.mkdir(parents=True)
        sizes = {name: params.size for name, params in vectors_config.items()}
        self._sizes.write_text(json.dumps(sizes))
        self._shard = edge.EdgeShard.create(
            str(self._folder), edge.EdgeConfig(vectors=vectors, hnsw_config=index)
        )

    def delete_collection(self, collection_name: str) -> None:
        self._shard.close()
        self._shard = None
        shutil.rmtree(self._folder)

    def get_collection(self, collection_name: str) -> Any:
        sizes = json.loads(self._sizes.read_text())
        vectors = {name: SimpleNamespace(size=size) for name, size in sizes.items()}
        return SimpleNamespace(config=SimpleNamespace(params=SimpleNamespace(vectors=vectors)))

    def create_payload_index(
        self, collection_name: str, field_name: str, field_schema: models.PayloadSchemaType, wait: bool
    ) -> None:
        kind = _KINDS[field_schema.value]
        self._shard.update(edge.UpdateOperation.create_field_index(field_name, kind))

    def upsert(self, collection_name: str, points: Any, wait: bool) -> None:
        if isinstance(points, models.Batch):
            names = list(points.vectors)
            rows = zip(*(points.vectors[name] for name in names), strict=True)
            found = [
                edge.Point(one, dict(zip(names, vectors, strict=True)), _plain(payload))
                for one, vectors, payload in zip(points.ids, rows, points.payloads, strict=True)
            ]
        else:
            found = [edge.Point(point.id, point.vector, point.payload) for point in points]
        self._shard.update(edge.UpdateOperation.upsert_points(found))

    def delete(self, collection_name: str, points_selector: Any, wait: bool) -> None:
        if isinstance(points_selector, models.FilterSelector):
            change = edge.UpdateOperation.delete_points_by_filter(_filter(points_selector.filter))
        else:
            change = edge.UpdateOperation.delete_points(points_selector)
        self._shard.update(change)

    def count(self, collection_name: str, count_filter: Any, exact: bool, timeout: int | None = None) -> Any:
        request = edge.CountRequest(exact=exact, filter=_filter(count_filter))
        return SimpleNamespace(count=self._shard.count(request))

    def retrieve(self, collection_name: str, ids: list[str], with_payload: bool, with_vectors: bool) -> Any:
        return self._shard.retrieve(ids, with_payload, with_vectors)

    def scroll(
        self,
        collection_name: str,
        scroll_filter: Any,
        limit: int,
        offset: Any,
        with_payload: Any,
        with_vectors: bool,
    ) -> Any:
        return self._shard.scroll(
            edge.ScrollRequest(
                offset=offset,
                limit=limit,
                filter=_filter(scroll_filter),
                with_payload=with_payload,
                with_vector=with_vectors,
            )
        )

    def query_points(
        self,
        collection_name: str,
        prefetch: Sequence[models.Prefetch],
        query: models.FormulaQuery,
        limit: int,
        with_payload: list[str],
        timeout: int | None,
    ) -> Any:
        request = edge.QueryRequest(
            limit=limit,
            prefetches=[_prefetch(one) for one in prefetch],
            query=edge.Formula(_expression(query.formula), query.defaults),
            with_payload=with_payload,
        )
        return SimpleNamespace(points=self._shard.query(request))

    def query_batch_points(
        self, collection_name: str, requests: Sequence[models.QueryRequest], timeout: int | None
    ) -> Any:
        return [
            SimpleNamespace(
                points=self._shard.query(
                    edge.QueryRequest(
                        limit=one.limit,
                        query=edge.Query.Nearest(one.query, using=one.using),
                        filter=_filter(one.filter),
                        params=edge.SearchParams(exact=one.params.exact),
                        with_payload=one.with_payload,
                    )
                )
            )
            for one in requests
        ]


class Shared:
    """A client that several have: none closes it, and its calls come one after the other."""

    def __init__(self, client: Any) -> None:
        self._client, self._lock = client, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            with self._lock:
                return getattr(self._client, name)(**arguments)

        return call

    def close(self) -> None:
        pass


def _plain(payload: Any) -> Any:
    if isinstance(payload, dict):
        return {name: _plain(value) for name, value in payload.items()}
    return int(payload) if isinstance(payload, bool) else payload


def _prefetch(one: models.Prefetch) -> edge.Prefetch:
    return edge.Prefetch(
        limit=one.limit,
        query=edge.Query.Nearest(one.query, using=one.using),
        filter=_filter(one.filter),
        params=edge.SearchParams(exact=one.params.exact),
    )


def _filter(one: models.Filter) -> edge.Filter:
    assert one.min_should is None
    parts = {
        name: [_condition(term) for term in getattr(one, name)]
        for name in ("must", "should", "must_not")
        if getattr(one, name)
    }
    return edge.Filter(**parts)


def _condition(one: Any) -> Any:
    if isinstance(one, models.Filter):
        return _filter(one)
    if isinstance(one, models.HasIdCondition):
        return edge.HasIdCondition(set(one.has_id))
    if isinstance(one, models.IsEmptyCondition):
        return edge.IsEmptyCondition(one.is_empty.key)
    assert isinstance(one, models.FieldCondition), one
    if isinstance(one.match, models.MatchValue):
        return edge.FieldCondition(key=one.key, match=edge.MatchValue(_plain(one.match.value)))
    if isinstance(one.match, models.MatchAny):
        return edge.FieldCondition(key=one.key, match=edge.MatchAny(one.match.any))
    bounds = {name: getattr(one.range, name) for name in ("gte", "gt", "lte", "lt")}
    if isinstance(one.range, models.DatetimeRange):
        texts = {name: None if value is None else value.isoformat() for name, value in bounds.items()}
        return edge.FieldCondition(key=one.key, range=edge.RangeDateTime(**texts))
    assert isinstance(one.range, models.Range), one
    return edge.FieldCondition(key=one.key, range=edge.RangeFloat(**bounds))


def _expression(one: Any) -> edge.Expression:
    make = edge.Expression
    if isinstance(one, int | float):
        return make.Constant(float(one))
    if isinstance(one, str):
        return make.Variable(one)
    if isinstance(one, models.SumExpression):
        return make.Sum([_expression(term) for term in one.sum])
    if isinstance(one, models.MultExpression):
        return make.Mult([_expression(term) for term in one.mult])
    if isinstance(one, models.NegExpression):
        return make.Neg(_expression(one.neg))
    if isinstance(one, models.AbsExpression):
        return make.Abs(_expression(one.abs))
    if isinstance(one, models.LnExpression):
        return make.Ln(_expression(one.ln))
    assert isinstance(one, models.ExpExpression), one
    return make.Exp(_expression(one.exp))

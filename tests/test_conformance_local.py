"""The index on disk does what every engine has to do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import conformance
import pytest
from conformance import Collection, Query

from mmn_index.index import MomentIndex
from mmn_index.search import Answer, SearchOptions, search_embeddings, search_like


class Local:
    digits, proves, approximate = 9, True, False

    def put(self, root: Path) -> None:
        self._index = MomentIndex(root)

    def find(
        self,
        queries: Sequence[Query],
        options: SearchOptions,
        *,
        where: Sequence[str] = (),
        score: str | None = None,
        hub: float | None = None,
        without: Query | None = None,
    ) -> list[Answer]:
        return self._ask(self._index, queries, options, where, score, hub, without)

    @staticmethod
    def _ask(
        index: MomentIndex,
        queries: Sequence[Query],
        options: SearchOptions,
        where: Sequence[str] = (),
        score: str | None = None,
        hub: float | None = None,
        without: Query | None = None,
    ) -> list[Answer]:
        if where:
            options = replace(options, restriction=index.where(where))
        chosen = index.manifest.with_score(score, hub)
        spaces = index.manifest.spaces
        against = None if without is None else conformance.both_spaces([without] * len(queries), spaces)
        both = conformance.both_spaces(queries, spaces)
        return search_embeddings(index, both, chosen, options, [""] * len(queries), against)

    def like(self, video_id: str, start: float, end: float, options: SearchOptions) -> Answer:
        return search_like(self._index, video_id, start, end, options=options)

    @contextmanager
    def reading(self, queries: Sequence[Query]) -> Iterator[Callable[[], list[Answer]]]:
        index = MomentIndex(self._index.root)  # what was opened stays one version
        yield lambda: self._ask(index, queries, SearchOptions())


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection(tmp_path_factory.mktemp("local") / "c.mmn")


@pytest.mark.parametrize("check", conformance.CHECKS)
def test_it_does_what_every_engine_has_to(collection: Collection, check: str) -> None:
    engine = Local()
    engine.put(collection.root)
    conformance.CHECKS[check](engine, collection)


@pytest.mark.parametrize("check", conformance.CHANGING)
def test_it_follows_changes(tmp_path: Path, check: str) -> None:
    made, engine = Collection(tmp_path / "c.mmn", seed=3), Local()
    engine.put(made.root)
    conformance.CHANGING[check](engine, made)


def test_a_model_with_one_space(tmp_path: Path) -> None:
    made, engine = Collection(tmp_path / "c.mmn", spaces=1), Local()
    engine.put(made.root)
    conformance.check_one_space(engine, made)

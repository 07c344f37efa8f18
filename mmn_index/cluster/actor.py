"""The searcher as an actor of Ray: while one thread of it searches, others answer pings and open segments.

It has a module of its own because decorators of Ray need Ray, and nodes import the class by its name.
"""

import ray

from .searcher import Searcher

GROUPS = {"ping": 1, "hold": 1}  # threads beside the one that searches


class SearchActor(Searcher):
    """A searcher whose methods have their threads."""


for method, group in (("ping", "ping"), ("hold", "hold"), ("forget", "hold")):
    setattr(SearchActor, method, ray.method(concurrency_group=group)(getattr(Searcher, method)))

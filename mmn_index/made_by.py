"""Whether two features are of one kind: by the weights that made them, where both are known, else by name."""


def is_other(name: str | None, weights: str | None, wanted: str | None, wanted_weights: str | None) -> bool:
    """Whether one backbone, given by its name and the SHA-256 of its weights, is not another one.

    A folder may be renamed, and two folders may have one name; the weights tell. `NAME#WHAT` is what is
    pooled of a model, which has to be the same in any case.
    """
    if weights and wanted_weights:
        pooled, wanted_pooled = ((text or "").rpartition("#")[2] for text in (name, wanted))
        return weights != wanted_weights or pooled != wanted_pooled
    return name != wanted


def other_weights(weights: str | None) -> str:
    """The beginning of a SHA-256 behind a name, where names alone may not tell two apart."""
    return f" (weights {weights[:12]})" if weights else ""

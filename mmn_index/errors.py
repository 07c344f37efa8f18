"""What can go wrong, as a caller can act on it.

    MmnIndexError
    +-- ConfigError        a setting that does not exist or does not fit
    +-- AnnotationError    a file of videos, moments and sentences that cannot be used
    +-- FeatureError       snippet features: missing, of another width, not numbers
    +-- VideoError         a video file that cannot be decoded
    |   +-- MissingError   many video files that are gone: deleted, or out of reach
    +-- CheckpointError    a trained model that cannot be loaded, or another one than expected
    +-- MomentIndexError   an index that is missing, damaged, or of another model
    +-- QueryError         a search that asks for something that cannot be
    +-- OutputError        a place where a result cannot be written
    |   +-- BusyError      another process writes there
    +-- ServerError        a server that cannot be reached, or does not answer
    +-- DatabaseError      a database that cannot be reached, or holds no moments
    +-- ClusterError       a cluster that cannot be reached, or cannot do the work
    +-- DependencyError    a package that this task needs is not installed

A message says where, what is, what was expected, and the likely cause or the next step.
The command line prints it as one line and ends with exit code 1.
"""


class MmnIndexError(Exception):
    """Any error that a user of mmn-index can act on."""


class ConfigError(MmnIndexError):
    """A setting that does not exist or does not fit the others."""


class AnnotationError(MmnIndexError):
    """An annotation file that cannot be used."""


class FeatureError(MmnIndexError):
    """Snippet features that are missing, of another width, or not numbers."""


class VideoError(MmnIndexError):
    """A video file that cannot be decoded."""


class MissingError(VideoError):
    """Many video files that are gone, and nobody can say whether they were deleted or are out of reach."""


class CheckpointError(MmnIndexError):
    """A trained model that cannot be loaded, or that is not the expected one."""


class MomentIndexError(MmnIndexError):
    """A moment index that is missing, damaged, or made by another model."""


class QueryError(MmnIndexError):
    """A search that asks for something that cannot be."""


class OutputError(MmnIndexError):
    """A place where a result cannot be written."""


class BusyError(OutputError):
    """A place where another process writes."""


class ServerError(MmnIndexError):
    """A server that cannot be reached, or does not answer as one of ours."""


class DatabaseError(MmnIndexError):
    """A database that cannot be reached, or holds no moments."""


class ClusterError(MmnIndexError):
    """A cluster that cannot be reached, or cannot do the work."""


class DependencyError(MmnIndexError):
    """A package that this task needs is not installed."""

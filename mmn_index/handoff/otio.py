"""OpenTimelineIO's own format, written by OpenTimelineIO."""

from typing import Any

from ..errors import DependencyError
from .names import one_line
from .timeline import Event, Timeline


def check_installed() -> Any:
    """OpenTimelineIO.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import opentimelineio
    except ImportError as error:
        raise DependencyError(
            "The format otio is written by the package opentimelineio, which is not installed. Run "
            "`pip install 'mmn-index[editors]'`, or choose edl or fcpxml, which need no package."
        ) from error
    return opentimelineio


def as_otio(timeline: Timeline) -> str:
    """A track of pictures, and one of sound where any file has some.

    Raises:
        DependencyError: OpenTimelineIO is not installed.
    """
    otio = check_installed()
    made = otio.schema.Timeline(timeline.title)
    kinds = [otio.schema.TrackKind.Video]
    if any(event.media.sound for event in timeline.events):
        kinds.append(otio.schema.TrackKind.Audio)
    for kind in kinds:
        track = otio.schema.Track(name=kind, kind=kind)
        for event in timeline.events:
            silent = kind == otio.schema.TrackKind.Audio and event.media.sound is None
            track.append(_gap(otio, event) if silent else _clip(otio, event))
        made.tracks.append(track)
    return str(otio.adapters.write_to_string(made, "otio_json"))


def _range(otio: Any, event: Event, begin: int, count: int) -> Any:
    rate = float(event.media.rate)
    time = otio.opentime.RationalTime
    return otio.opentime.TimeRange(time(event.origin + begin, rate), time(count, rate))


def _gap(otio: Any, event: Event) -> Any:
    return otio.schema.Gap(source_range=_range(otio, event, -event.origin, event.count))


def _clip(otio: Any, event: Event) -> Any:
    excerpt, media = event.excerpt, event.media
    reference = otio.schema.ExternalReference(
        media.path.absolute().as_uri(), _range(otio, event, 0, event.available)
    )
    return otio.schema.Clip(
        event.name,
        media_reference=reference,
        source_range=_range(otio, event, event.begin, event.count),
        metadata={
            "mmn-index": {
                "query": one_line(excerpt.query),
                "rank": excerpt.rank,
                "video": one_line(excerpt.video_id),
                "start": excerpt.start,
                "end": excerpt.end,
            }
        },
    )

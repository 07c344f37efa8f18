"""Suffixes of video files, and names without them."""

# What FFmpeg reads as video. Pictures are left out, moving ones (.gif, .webp) too: in folders of videos they
# are previews.
_FAMILIES = {
    "MPEG-4, QuickTime": "mp4 m4v mov qt 3gp 3g2 f4v mj2 insv",
    "Matroska": "mkv mk3d webm",
    "MPEG": "mpg mpeg mpe mpv m1v m2v m2p vob vro evo ts mts m2t m2ts tp trp mod tod",
    "Windows": "avi divx xvid asf wm wmv wtv dvr-ms",
    "Flash, Real, Ogg": "flv rm rmvb ogv ogm ogx",
    "studios and recorders": "dv dif mxf gxf lxf nut nuv",
    "streams without a container": "h261 h263 h264 264 avc h265 265 hevc vc1 ivf obu mjpeg mjpg y4m",
    "older still": "amv bik smk fli flc roq",
}
SUFFIXES = frozenset(f".{suffix}" for family in _FAMILIES.values() for suffix in family.split())


def without_suffix(name: str) -> str:
    """The name of a video file without its suffix; other endings belong to the name.

    >>> without_suffix("porch/v.2.mp4"), without_suffix("v.2"), without_suffix(".mp4")
    ('porch/v.2', 'v.2', '.mp4')
    """
    stem, dot, suffix = name.rpartition(".")
    named = stem and not stem.endswith("/")
    return stem if named and dot + suffix.lower() in SUFFIXES else name

"""Results handed on: clips, a reel, tables, subtitles, and time lines for editing programs."""

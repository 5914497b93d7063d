"""Where the stand-in keeps its pictures."""

CLIPS_DIR = "/media/standin/clips"

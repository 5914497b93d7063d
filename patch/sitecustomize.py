"""Loads the S3 snapshot mirror's patch in Frigate's main process, and does nothing in any other.

Python runs this file at the start of every process that has this folder on its PYTHONPATH: Frigate itself, its children
and helper scripts whose output is parsed. So it asks the cheapest question first, imports only what is loaded anyway,
never writes outside of Frigate's main process, and runs on Python 3.9.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would cost every process milliseconds
    from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))


def is_frigate() -> bool:
    """Whether the command line is `python -m frigate`.

    At this point sys.argv is ["-m", arguments...] for any module; its name is only in the whole command line.
    """
    arguments = getattr(sys, "argv", [])
    if arguments[:1] != ["-m"]:
        return False
    line = getattr(sys, "orig_argv", None)
    if line is None:  # Python 3.9
        with open("/proc/self/cmdline", "rb") as file:
            line = os.fsdecode(file.read()).split("\0")[:-1]
    return line[len(line) - len(arguments)] in ("frigate", "-mfrigate")


def load_patcher() -> None:
    """Load the patcher by its path, so that none of the mirror's packages gets on Frigate's sys.path."""
    if "frigate_s3_patcher" in sys.modules:  # a second copy of this folder on the path
        return
    bundle = os.path.dirname(HERE)
    fallback = os.environ.get("S3_MIRROR_LIB") or "/config/.s3-mirror/lib"
    folders = [os.path.join(bundle, "lib"), fallback, os.path.join(bundle, "src"), *sys.path]
    paths = [os.path.join(folder, "frigate_s3_mirror", "frigate_s3_patcher.py") for folder in folders]
    path = next((path for path in paths if os.path.isfile(path)), None)
    if path is None:
        raise ImportError(f"nothing is in {folders[0]}; run setup_s3_mirror.sh")

    import importlib.util

    spec: Any = importlib.util.spec_from_file_location("frigate_s3_patcher", path)
    patcher = importlib.util.module_from_spec(spec)
    sys.modules["frigate_s3_patcher"] = patcher
    spec.loader.exec_module(patcher)
    patcher.install()


def say_why_not(error: BaseException) -> None:
    """One line in Frigate's log, whose stdout it is."""
    import time

    line = "[%s] %-30s %-8s: Failed to import S3 modules: %s; Frigate runs without the S3 snapshot mirror\n"
    values = (time.strftime("%Y-%m-%d %H:%M:%S"), "frigate_s3_mirror", "ERROR", " ".join(str(error).split()))
    try:
        os.write(1, (line % values).encode("utf-8", "replace"))
    except OSError:
        pass


def run_next_sitecustomize() -> None:
    """Python runs only the first sitecustomize on its path: run the next one as if this one were not there."""
    places = [os.path.abspath(place) for place in sys.path]
    further = sys.path[places.index(HERE) + 1 :] if HERE in places else []
    specs = (finder.find_spec("sitecustomize", further) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    spec: Any = next((spec for spec in specs if spec is not None and spec.loader is not None), None)
    if spec is None:
        return
    module: Any = type(sys)("sitecustomize")
    module.__spec__, module.__loader__ = spec, spec.loader
    module.__file__, module.__cached__ = spec.origin, spec.cached
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


try:
    if is_frigate():
        load_patcher()
except (Exception, SystemExit) as error:  # whatever is wrong here must not keep a Python process from starting
    say_why_not(error)

run_next_sitecustomize()

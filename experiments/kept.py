"""Results that are written down as they come, so that a run that was ended goes on from there."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.files import CorruptFile, refuse_others
from igsref.files import replacing


def kept(path: Path, settings: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """What compute gives as JSON: read where the file is there.

    Raises OtherSettings, with what differs, for a file that was made with other settings, and
    CorruptFile for one that holds something else; it stays as it is.
    """
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        return _read(path, wanted)
    result = compute()
    write_json(path, {"settings": wanted, "result": result})
    return result


def _read(path: Path, wanted: Mapping[str, Any]) -> Any:
    try:
        stored = json.loads(path.read_text("utf-8"))
        found, result = dict(stored["settings"]), stored["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path} must hold settings and a result as JSON; {error!r}") from error
    refuse_others(path, wanted, found)
    return result


def write_json(path: Path, content: Any) -> None:
    """One file, all of it or none."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")

"""Results that are written down as they come, so that a run that was ended goes on from there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.files import replacing


def kept(path: Path, settings: Any, compute: Callable[[], Any]) -> Any:
    """What compute gives as JSON: read where the file holds it for the same settings."""
    wanted = json.loads(json.dumps(settings))
    if path.is_file() and (stored := json.loads(path.read_text("utf-8")))["settings"] == wanted:
        return stored["result"]
    result = compute()
    write_json(path, {"settings": wanted, "result": result})
    return result


def write_json(path: Path, content: Any) -> None:
    """One file, all of it or none."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")

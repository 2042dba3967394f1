"""``igsref`` and ``python -m igsref``: the command line, which needs packages of its own."""

import sys


def main() -> None:
    """Run the command line; one sentence, and exit code 2, where its packages are not there."""
    try:
        from igsref.cli import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "igsref":
            raise
        print(
            f"igsref: the command line needs {error.name}: pip install 'igsref[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    app()


if __name__ == "__main__":
    main()

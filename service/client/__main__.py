"""Run the command of the package facemask-client, or print where to find it."""

import sys


def main() -> int:
    """Run facemask-client and return its exit status, or 2 if it is not installed."""
    try:
        from facemask_client.__main__ import main as run_client
    except ModuleNotFoundError:
        print(
            "error: the client is the package facemask-client: run `pip install ./client`, then "
            "`facemask-client`.",
            file=sys.stderr,
        )
        return 2
    return run_client()


if __name__ == "__main__":
    sys.exit(main())

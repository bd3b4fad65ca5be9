"""The command `syncer`, also as `python -m feature_warehouse`: where the client came alone, it says what is missing."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from feature_warehouse.cli.main import main as command
    except ModuleNotFoundError as error:
        sys.exit(
            f"Error: the command needs {error.name}, and the client alone is installed\n"
            "Hint: pip install 'feature-warehouse[dbt,sync]'"
        )
    command(prog_name="syncer")


if __name__ == "__main__":
    main()

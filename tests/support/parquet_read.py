"""Reads a directory of Parquet files with pyarrow, pandas, polars and DuckDB; prints the rows that all of them see.

    parquet_read.py DIR     JSON: a list of maps, in the order of the files
"""
import glob, json, os, sys
import duckdb, pandas, polars, pyarrow.parquet as pq

files = sorted(glob.glob(os.path.join(sys.argv[1], "*.parquet")))


def plain(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if hasattr(value, "timestamp"):
        return round(value.timestamp() * 1e6)
    if value is None or value != value and not isinstance(value, str):
        return None
    if isinstance(value, float):
        return float(value).hex()
    return value


def same(name, rows):
    rows = [[plain(v) for v in row] for row in rows]
    assert len(rows) == len(seen), (name, len(rows))
    for number, (found, expected) in enumerate(zip(rows, seen)):
        assert found == expected, (name, number, found, expected)


table = pq.read_table(files)
names = table.column_names
seen = [[plain(v) for v in row.values()] for row in table.to_pylist()]
same("polars", polars.read_parquet(files).rows())
same("duckdb", duckdb.sql(f"set timezone = 'UTC'; select * from read_parquet({files!r})").fetchall())
whole = [n for n in names if pandas.api.types.is_numeric_dtype(pq.read_table(files).to_pandas()[n])]
frame = pandas.concat([pandas.read_parquet(f) for f in files], ignore_index=True)
for name in [n for n in names if n not in whole]:
    at = names.index(name)
    for number, value in enumerate(frame[name]):
        assert plain(value) == seen[number][at], ("pandas", name, number, plain(value), seen[number][at])
print(json.dumps([dict(zip(names, row)) for row in seen]))

"""What directories of Parquet files hold, as pyarrow reads them, in the form of living.py's dump.

    living_parquet.py DIR    {collection: {"rows": {partition: {key: row}}}}
"""
import json
import os
import sys

import pyarrow.parquet as pq


def plainly(value):
    if isinstance(value, float):
        return "nan" if value != value else value.hex()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: plainly(v) for k, v in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [plainly(v) for v in value]
    return value


def cell(column, value):
    if column["type"] == "json":
        return plainly(json.loads(value))
    if column["type"].startswith("binary_vector"):
        # pymilvus gives bits in a list of one.
        return [bytes(value).hex()]
    return plainly(value)


out = {}
for folder, _, names in sorted(os.walk(sys.argv[1])):
    if "manifest.json" not in names:
        continue
    manifest = json.load(open(os.path.join(folder, "manifest.json")))
    columns = {column["name"]: column for column in manifest["columns"]}
    key = next(name for name, column in columns.items() if column.get("role") == "key")
    rows = {}
    for listed in manifest["files"]:
        table = pq.read_table(os.path.join(folder, listed["name"]))
        assert table.num_rows == listed["rows"], listed
        for row in table.to_pylist():
            assert str(row[key]) not in rows, row[key]
            cells = {name: cell(columns[name], value) for name, value in row.items()}
            # pymilvus gives the keys of the dynamic field as if they were fields.
            for name in [name for name in cells if columns[name].get("role") == "dynamic"]:
                cells.update(cells.pop(name))
            rows[str(row[key])] = cells
    assert len(rows) == manifest["rows"]
    has_key = any(column.get("role") == "partition key" for column in columns.values())
    partition = "*" if has_key else manifest["partition"] or "_default"
    out.setdefault(manifest["collection"], {"rows": {}})["rows"][partition] = rows
print(json.dumps(out, sort_keys=True))

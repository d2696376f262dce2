#!/usr/bin/env python3
"""Compares what arrived with what Postgres says of its own table, cell by cell.

  pgvector_cells.py EXPECTED parquet DIRECTORY
  pgvector_cells.py EXPECTED milvus|lite ADDRESS COLLECTION

EXPECTED is JSON: {"columns": [[name, kind]…], "rows": [[value…]…]}, the key first. Kinds: plain, json, f32, f64, f32s (a list
of them), vector, halfvec, sparsevec, bit (as Postgres spells these). Prints the number of cells compared."""
import glob, json, math, sys

import numpy as np


def vector(value, dtype):
    if isinstance(value, str):
        value = [float(x) for x in value.strip("[]").split(",")]
    if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], bytes):
        value = value[0]
    if dtype == "<f2" and isinstance(value, list) and all(isinstance(x, int) for x in value):
        value = bytes(value)
    if isinstance(value, bytes):
        return np.frombuffer(value, dtype).tobytes()
    return np.array(value, dtype).tobytes()


def sparse(value):
    if isinstance(value, str) and "/" in value:
        pairs = value[1:value.index("}")].split(",")
        pairs = [pair.split(":") for pair in pairs if pair]
        return {int(i) - 1: float(np.float32(v)) for i, v in pairs}
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, bytes):
        pairs = np.frombuffer(value, [("i", "<u4"), ("v", "<f4")])
        return {int(p["i"]): float(p["v"]) for p in pairs}
    if "indices" in value:
        value = dict(zip(value["indices"], value["values"]))
    return {int(i): float(np.float32(v)) for i, v in value.items()}


def bits(value):
    if isinstance(value, str):
        value = np.packbits([int(b) for b in value]).tobytes()
    if isinstance(value, (list, tuple)):
        value = value[0] if isinstance(value[0], bytes) else bytes(value)
    return value


def canonical(kind, value):
    if value is None:
        return None
    if kind == "json":
        return json.loads(value) if isinstance(value, (str, bytes)) else value
    if kind == "f32":
        return float(np.float32(value))
    if kind == "f64":
        return float(value)
    if kind == "f32s":
        return [float(np.float32(v)) for v in value]
    if kind == "vector":
        return vector(value, "<f4")
    if kind == "halfvec":
        return vector(value, "<f2")
    if kind == "sparsevec":
        return sparse(value)
    if kind == "bit":
        return bits(value)
    return list(value) if isinstance(value, (list, tuple)) or hasattr(value, "DESCRIPTOR") or \
        type(value).__name__ == "RepeatedScalarContainer" else value


def same(kind, expected, found):
    expected, found = canonical(kind, expected), canonical(kind, found)
    if isinstance(expected, float) and isinstance(found, float) and math.isnan(expected):
        return math.isnan(found)
    return expected == found and isinstance(expected, bool) == isinstance(found, bool)


def from_parquet(directory):
    import pyarrow.parquet as pq
    rows = []
    for file in sorted(glob.glob(directory + "/**/*.parquet", recursive=True)):
        rows += pq.read_table(file).to_pylist()
    return rows


def from_milvus(address, name):
    from pymilvus import Collection, connections, utility
    host, port = address.rsplit(":", 1)
    connections.connect(host=host, port=port)
    c = Collection(name)
    if utility.load_state(name).name != "Loaded":
        if not c.indexes:
            for f in c.schema.fields:
                kind = {100: ("BIN_FLAT", "HAMMING"), 101: ("FLAT", "L2"), 104: ("SPARSE_INVERTED_INDEX", "IP")}.get(int(f.dtype))
                if kind:
                    c.create_index(f.name, {"index_type": kind[0], "metric_type": kind[1], "params": {}})
        c.load()
    key = c.primary_field.name
    anything = '%s >= ""' % key if int(c.primary_field.dtype) == 21 else "%s >= -9000000000000000000" % key
    names = [f.name for f in c.schema.fields]
    found = c.query(anything, output_fields=names, consistency_level="Strong", limit=16000)
    return [dict(row) for row in found]


expected = json.load(open(sys.argv[1]))
found = from_parquet(sys.argv[3]) if sys.argv[2] == "parquet" else from_milvus(*sys.argv[3:5])
columns = expected["columns"]
key = columns[0][0]
by_key = {row[key]: row for row in found}
if len(by_key) != len(found) or len(found) != len(expected["rows"]):
    sys.exit("%d rows of %d keys arrived, %d were sent" % (len(found), len(by_key), len(expected["rows"])))
cells = 0
for values in expected["rows"]:
    row = by_key.get(values[0])
    if row is None:
        sys.exit("%r did not arrive" % (values[0],))
    for (name, kind), value in zip(columns, values):
        if name not in row:
            sys.exit("there is no %s, there are %s" % (name, sorted(row)))
        if not same(kind, value, row[name]):
            sys.exit("%r: %s is %r, and was %r" % (values[0], name, row[name], value))
        cells += 1
print(cells)

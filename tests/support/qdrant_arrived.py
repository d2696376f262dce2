"""What arrived of points that fake_qdrant.py served, in its words: {key: {column: value}}.

    qdrant_arrived.py parquet DIR KEY         Parquet files of the sink, below a directory
    qdrant_arrived.py milvus ADDRESS NAME KEY a collection of a Milvus 2.x
"""
import glob, json, os, struct, sys


def pairs(raw):
    return [list(struct.unpack_from("<If", raw, at)) for at in range(0, len(raw), 8)]


def single(v):
    """Numbers in single precision, as vectors have them."""
    return [single(x) for x in v] if isinstance(v, list) else struct.unpack("<f", struct.pack("<f", v))[0]


def parquet(directory, key):
    import pyarrow.parquet as pq
    rows = []
    for file in sorted(glob.glob(os.path.join(directory, "**", "*.parquet"), recursive=True)):
        rows += pq.read_table(file).to_pylist()
    out = {}
    for row in rows:
        i = str(row.pop(key))
        assert i not in out, i
        row["payload"] = json.loads(row.pop("$meta"))
        for name, v in row.items():
            if isinstance(v, dict) and "indices" in v:
                row[name] = [list(p) for p in zip(v["indices"], v["values"])]
            elif isinstance(v, str):
                row[name] = single(json.loads(v))
        out[i] = row
    return out


def milvus(address, name, key):
    from pymilvus import Collection, DataType, connections
    host, port = address.split(":")
    connections.connect(host=host, port=port)
    collection = Collection(name)
    fields = {f.name: f.dtype for f in collection.schema.fields}
    for f, dtype in fields.items():
        if dtype in (DataType.FLOAT_VECTOR, getattr(DataType, "SPARSE_FLOAT_VECTOR", None)) and not collection.has_index(index_name=f):
            dense = dtype == DataType.FLOAT_VECTOR
            collection.create_index(f, {"index_type": "FLAT" if dense else "SPARSE_INVERTED_INDEX",
                                        "metric_type": "L2" if dense else "IP", "params": {}}, index_name=f)
    collection.load()
    text = fields[key] == DataType.VARCHAR
    # Dynamic keys come by themselves.
    rows = collection.query(f'{key} >= ""' if text else f"{key} >= 0", output_fields=["*"], limit=16384,
                            consistency_level="Strong")
    assert len(rows) < 16384
    out = {}
    for row in rows:
        i = row.pop(key)
        vectors = {f: row.pop(f) for f in list(row) if f in fields}
        for f, v in vectors.items():
            if isinstance(v, dict):
                vectors[f] = [[int(k), float(x)] for k, x in sorted(v.items())]
            elif v is not None and fields[f] == DataType.FLOAT_VECTOR:
                vectors[f] = [float(x) for x in v]
        assert str(i) not in out, i
        out[str(i)] = {**vectors, "payload": dict(row)}
    # A key that is there twice is shown once, and counted twice.
    count = collection.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
    assert count == len(out), (count, len(out))
    return out


if sys.argv[1] == "parquet":
    print(json.dumps(parquet(*sys.argv[2:])))
else:
    print(json.dumps(milvus(*sys.argv[2:])))

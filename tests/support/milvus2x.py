"""fills a Milvus 2.3.5 with all that its storage can show, and prints what a full query gives then

usage: milvus2x.py ADDRESS -> {"collection": rows, ...} for the default database, {"db2.collection": rows} for the other,
in the spelling of tests/at_rest/milvus2/canonical.rs
"""
import json, random, struct, sys
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, db, utility

address = sys.argv[1]
connections.connect(uri="http://" + address)
rng = random.Random(7)
f32 = lambda x: struct.unpack("<f", struct.pack("<f", x))[0]
vector = lambda dim: [f32(rng.gauss(0, 1)) for _ in range(dim)]
ARRAYS = {"ab": DataType.BOOL, "a8": DataType.INT8, "a16": DataType.INT16, "a32": DataType.INT32, "a64": DataType.INT64,
          "af": DataType.FLOAT, "ad": DataType.DOUBLE, "as": DataType.VARCHAR}


def collection(name, fields, **more):
    schema = CollectionSchema(fields, description="about " + name, **more)
    return Collection(name, schema, shards_num=2, consistency_level="Strong")


def some(kind, i):
    return {DataType.BOOL: lambda: i % 3 == 0, DataType.INT8: lambda: i % 256 - 128, DataType.INT16: lambda: -i * 7,
            DataType.INT32: lambda: i * 100_003, DataType.INT64: lambda: (-1) ** i * (2 ** 62 - i),
            DataType.FLOAT: lambda: f32(rng.uniform(-9, 9)), DataType.DOUBLE: lambda: rng.uniform(-1e300, 1e300),
            DataType.VARCHAR: lambda: ["", "plain", "ümläut", "文字", "a\"b\\c", "x" * 30][i % 6]}[kind]()


def wide():
    scalars = {"b": DataType.BOOL, "i8": DataType.INT8, "i16": DataType.INT16, "i32": DataType.INT32, "i64": DataType.INT64,
               "f": DataType.FLOAT, "d": DataType.DOUBLE}
    fields = [FieldSchema("id", DataType.INT64, is_primary=True, description="the key")]
    fields += [FieldSchema(name, kind) for name, kind in scalars.items()]
    fields += [FieldSchema("s", DataType.VARCHAR, max_length=200), FieldSchema("j", DataType.JSON)]
    fields += [FieldSchema(name, DataType.ARRAY, element_type=kind, max_capacity=9, max_length=64) for name, kind in ARRAYS.items()]
    fields += [FieldSchema("v", DataType.FLOAT_VECTOR, dim=16)]
    c = collection("wide", fields, enable_dynamic_field=True)

    def row(i):
        row = {"id": i, "s": some(DataType.VARCHAR, i), "j": {"n": i, "t": [1, {"deep": None}], "big": 2 ** 53 + i}, "v": vector(16)}
        row.update({name: some(kind, i) for name, kind in scalars.items()})
        row.update({name: [some(kind, i + k) for k in range(i % 5)] for name, kind in ARRAYS.items()})
        row.update({"dyn": i, "dyn_text": "é%d" % i} if i % 2 else {})
        return row
    for part in ("p1", "gone"):
        c.create_partition(part)
    for part, ids in (("_default", range(300)), ("p1", range(1000, 1200)), ("gone", range(2000, 2050))):
        c.insert([row(i) for i in ids], partition_name=part)
    c.flush()
    c.delete("id in %s" % list(range(10, 60)))
    c.insert([row(i) for i in range(10, 20)])
    c.upsert([row(i) for i in (1, 2, 3)])
    c.flush()
    c.upsert([row(i) for i in (2, 3)])
    c.delete("id in %s" % list(range(1000, 1040)), partition_name="p1")
    c.flush()
    c.drop_partition("gone")
    c.create_index("v", {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 8, "efConstruction": 40}}, index_name="of_v")
    utility.create_alias("wide", "wide_too")
    return c


def texts():
    c = collection("texts", [FieldSchema("key", DataType.VARCHAR, max_length=100, is_primary=True),
                             FieldSchema("bits", DataType.BINARY_VECTOR, dim=64)])
    keys = ["k%03d" % i for i in range(150)] + ["", "a\"b", "it's", "back\\slash", "ümläut", "文", "comma,here"]
    put = lambda keys: [keys, [rng.randbytes(8) for _ in keys]]
    c.insert(put(keys))
    c.flush()
    c.delete('key in ["k001", "a\\"b", "comma,here", "back\\\\slash", "文"]')
    c.upsert(put(["k002", "k003", "it's"]))
    c.flush()
    c.create_index("bits", {"index_type": "BIN_FLAT", "metric_type": "JACCARD", "params": {}})
    return c


def spread():
    c = collection("spread", [FieldSchema("id", DataType.INT64, is_primary=True, auto_id=True),
                              FieldSchema("tenant", DataType.VARCHAR, max_length=20, is_partition_key=True),
                              FieldSchema("v", DataType.FLOAT_VECTOR, dim=4)], num_partitions=3)
    c.insert([["t%d" % (i % 7) for i in range(90)], [vector(4) for _ in range(90)]])
    c.flush()
    c.create_index("v", {"index_type": "FLAT", "metric_type": "IP", "params": {}})
    return c


def merged():
    c = collection("merged", [FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("v", DataType.FLOAT_VECTOR, dim=4)])
    for k in range(5):
        c.insert([list(range(k * 40, k * 40 + 40)), [vector(4) for _ in range(40)]])
        c.flush()
    c.delete("id in %s" % list(range(30, 50)))
    c.flush()
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.compact()
    c.wait_for_compaction_completed(timeout=60)
    return c


def plain(name):
    c = collection(name, [FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("v", DataType.FLOAT_VECTOR, dim=4)])
    c.insert([list(range(30)), [vector(4) for _ in range(30)]])
    c.flush()
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    return c


def spelt(value, field):
    kind = field.get("kind")
    if kind in (DataType.FLOAT, DataType.DOUBLE):
        code = "<f", "<I"
        if kind == DataType.DOUBLE: code = "<d", "<Q"
        return struct.unpack(code[1], struct.pack(code[0], value))[0]
    if kind == DataType.FLOAT_VECTOR: return struct.pack("<%df" % len(value), *value).hex()
    if kind == DataType.BINARY_VECTOR: return b"".join(value).hex()
    if kind == DataType.ARRAY: return [spelt(x, {"kind": field["of"]}) for x in value]
    return value


def queried(c):
    c.load()
    kinds = {f.name: {"kind": f.dtype, "of": ARRAYS.get(f.name)} for f in c.schema.fields}
    key = c.primary_field.name
    everything = 'key != "no such key"' if key == "key" else key + " >= -9223372036854775807"
    names = list(kinds) + (["$meta"] if c.schema.enable_dynamic_field else [])
    has_key = any(f.is_partition_key for f in c.schema.fields)
    rows = []
    for part in [None] if has_key else [p.name for p in c.partitions]:
        only = {} if part is None else {"partition_names": [part]}
        for found in c.query(everything, output_fields=names, consistency_level="Strong", **only):
            row = {name: spelt(found[name], kinds[name]) for name in kinds}
            if c.schema.enable_dynamic_field:
                meta = found.get("$meta", {k: v for k, v in found.items() if k not in kinds})
                row["$meta"] = json.loads(meta) if isinstance(meta, (str, bytes)) else meta
            rows.append(dict(row, **{"$part": part or "_default"}))
    c.release()
    return rows


all = {c.name: queried(c) for c in (wide(), texts(), spread(), merged())}
plain("dropped").drop()
db.create_database("db2")
db.using_database("db2")
all["db2.elsewhere"] = queried(plain("elsewhere"))
print(json.dumps(all))

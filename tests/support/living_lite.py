"""Collections on Milvus Lite 3.2.2, by its own client.

    living_lite.py make ADDRESS nulls|unordered    a collection, loaded
    living_lite.py dump ADDRESS NAME...            schema and rows by key, as JSON
"""
import json
import random
import struct
import sys

from pymilvus import DataType, MilvusClient


def vector(seed, dim):
    r = random.Random(seed)
    return [struct.unpack("f", struct.pack("f", r.uniform(-1, 1)))[0] for _ in range(dim)]


def plainly(value):
    if isinstance(value, float):
        return "nan" if value != value else value.hex()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(k): plainly(v) for k, v in sorted(value.items())}
    if hasattr(value, "tolist"):
        return plainly(value.tolist())
    if isinstance(value, (list, tuple)) or type(value).__name__ == "RepeatedScalarContainer":
        return [plainly(v) for v in value]
    return value


def make(client, name):
    schema = client.create_schema(enable_dynamic_field=name == "nulls")
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    rows = [{"pk": i * 7919 % 5000, "v": vector(i * 7919 % 5000, 4)} for i in range(5000)]
    if name == "nulls":
        schema.add_field("n", DataType.INT64, nullable=True)
        schema.add_field("s", DataType.VARCHAR, max_length=30, nullable=True)
        schema.add_field("j", DataType.JSON, nullable=True)
        schema.add_field("words", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=4, max_length=9,
                         nullable=True)
        schema.add_field("d", DataType.DOUBLE, default_value=1.5)
        rows = [{"pk": i, "v": vector(i, 4), "n": i if i % 3 else None, "s": ["", "zero", None][i % 3],
                 "j": [{"a": i}, None, {}][i % 3], "words": [[], ["a", ""], None][i % 3],
                 **({"d": i / 2} if i % 2 else {}), "more": i} for i in range(300)]
    index = client.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index)
    for at in range(0, len(rows), 1000):
        client.insert(name, rows[at:at + 1000])
    client.load_collection(name)


def dump(client, names):
    out = {}
    for name in names:
        told = client.describe_collection(name)
        fields = [f["name"] for f in told["fields"]]
        meta = ["$meta"] if told.get("enable_dynamic_field") else []
        rows = client.query(name, filter="pk >= 0", output_fields=fields + meta)
        out[name] = {"rows": {str(r["pk"]): plainly(dict(r)) for r in rows},
                     "fields": [{k: plainly(f.get(k)) if not isinstance(f.get(k), DataType) else f[k].name for k in
                                 ("name", "type", "nullable", "params", "element_type")} for f in
                                sorted(told["fields"], key=lambda f: f["name"])]}
    print(json.dumps(out, sort_keys=True, default=str))


verb, address = sys.argv[1:3]
client = MilvusClient(uri="http://" + address)
if verb == "make":
    make(client, sys.argv[3])
else:
    dump(client, sys.argv[3:])
